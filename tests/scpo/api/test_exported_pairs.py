"""Pairs in the columns of TRL, weighted as the formulas say."""

import json
import math

import datasets
import numpy as np
import pyarrow as pa
import pytest

import scpo
from scpo.api.exported_pairs import Weighting, export_pairs
from scpo.data.interactions import INTERACTIONS_SCHEMA, write_interactions
from scpo.data.splits import keep_split

COLUMNS = ["prompt", "chosen", "rejected", "weight", "margin", "country", "user", "part"]


@pytest.fixture
def data(interactions, tmp_path):
    table = interactions(users={"Mexico": 8, "Chile": 8}, per_user=2, seed=1)
    write_interactions(table, tmp_path / "data" / "interactions.parquet")
    return table, tmp_path / "data"


def read(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_every_pair_of_a_folder_is_a_row(data, tmp_path):
    table, folder = data
    out = tmp_path / "pairs.jsonl"
    assert export_pairs(table, out, data=folder) == 16 * 2 * 3
    rows = read(out)
    assert list(rows[0]) == COLUMNS
    scores = {
        (row["user_id"], row["prompt"], text): score
        for row in table.to_pylist()
        for text, score in zip(row["responses"], row["scores"], strict=True)
    }
    for row in rows:
        chosen, rejected = (scores[row["user"], row["prompt"], row[n]] for n in COLUMNS[1:3])
        assert chosen > rejected
        assert (row["weight"], row["margin"], row["part"]) == (1.0, 0.0, None)
    parquet = tmp_path / "pairs.parquet"
    export_pairs(table, parquet, data=folder, countries=["MX"])
    held = datasets.Dataset.from_parquet(str(parquet), cache_dir=str(tmp_path / "cache"))
    assert held.column_names == COLUMNS
    assert set(held["country"]) == {"Mexico"}


def test_weights_are_those_of_the_arm(data, model_folder, tmp_path):
    table, folder = data
    model = scpo.RewardModel.from_pretrained(model_folder("bert"))
    weighting = Weighting(
        str(model_folder("bert")), tau=0.5, beta=0.4, cache=tmp_path / "cache", precision="fp32"
    )
    options = {"data": folder, "countries": ["Mexico"], "weighting": weighting}
    kept = tmp_path / "kept.jsonl"
    every = tmp_path / "every.jsonl"
    export_pairs(table, kept, part="train", **options)
    export_pairs(table, every, data=folder, countries=["Mexico"])
    rows, all_rows = read(kept), read(every)
    assert {row["part"] for row in rows} == {"train"}
    assert {row["part"] for row in all_rows} == {"train", "validation", "test"}
    users = {row["user"] for row in all_rows if row["part"] == "train"}
    expected = {}
    for row in all_rows:
        chosen, rejected = model.score([row["prompt"]] * 2, [row["chosen"], row["rejected"]])
        d = float(chosen) - float(rejected)
        if row["user"] in users and 1 / (1 + math.exp(-d)) < 0.5:
            key = (row["user"], row["prompt"], row["chosen"], row["rejected"])
            expected[key] = min(math.exp(d / 0.4), 1.0)
    found = {(r["user"], r["prompt"], r["chosen"], r["rejected"]): r["weight"] for r in rows}
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(
        [found[key] for key in expected], list(expected.values()), rtol=1e-4
    )
    assert 0 < len(found) < len(users) * 6


def test_dialogues_are_lists_of_messages(tmp_path):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    rows = [
        {
            **{"interaction_id": str(number), "user_id": "u", "country": "Peru", "turn": 0},
            **{"prompt": "Sky?", "responses": ["blue", "red"], "comparisons": [[0, 1]]},
            **{"margins": [0.25], "messages": messages},
        }
        for number, messages in enumerate((None, [*turns, {"role": "user", "content": "Sky?"}]))
    ]
    table = pa.Table.from_pylist(rows, schema=INTERACTIONS_SCHEMA)
    out = tmp_path / "pairs.jsonl"
    assert export_pairs(table, out, data=tmp_path) == 2
    first, second = read(out)
    assert first["prompt"] == [{"role": "user", "content": "Sky?"}]
    assert second["prompt"] == [*turns, {"role": "user", "content": "Sky?"}]
    assert second["chosen"] == [{"role": "assistant", "content": "blue"}]
    assert second["margin"] == 0.25
    back = scpo.Preferences.from_file(out)  # and it reads back
    assert back.table["margins"].to_pylist() == [[0.25], [0.25]]


def test_what_cannot_be_exported_is_refused(data, tmp_path):
    table, folder = data
    with pytest.raises(ValueError, match=r"to \.jsonl or \.parquet"):
        export_pairs(table, tmp_path / "pairs.csv", data=folder)
    with pytest.raises(ValueError, match="No interactions of Peru"):
        export_pairs(table, tmp_path / "pairs.jsonl", data=folder, countries=["Peru"])
    with pytest.raises(ValueError, match=r"data has no split\.json, which says whose pairs are"):
        export_pairs(table, tmp_path / "pairs.jsonl", data=folder, part="test")
    keep_split(folder, table, ["Mexico", "Chile"])
    with pytest.raises(ValueError, match="No pair is left"):
        export_pairs(table.slice(0, 0), tmp_path / "pairs.jsonl", data=folder, part="test")
    mine = folder / "interactions.parquet"
    before = mine.read_bytes()
    with pytest.raises(
        ValueError, match=r"parquet is there and has no rows with just prompt, chosen"
    ):
        export_pairs(table, mine, data=folder)
    assert mine.read_bytes() == before
