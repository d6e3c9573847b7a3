"""What may train a country's global head, and under which names units count."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from scpo.data.interactions import INTERACTIONS_SCHEMA
from scpo.data.reading.bad_rows import BadRows
from scpo.data.sources.pairs_file import PairColumns, read_pairs_file
from scpo.heads.linear_heads import ProbedPairs
from scpo.tokens.encoding import TokenizedTexts
from sweeps.config import HeadsConfig
from sweeps.probe.choose_heads import Candidate, train_candidates
from sweeps.research.study.frozen_arrays import (
    FrozenArrays,
    count_units,
    global_pool,
    read_against,
    train_global_head,
)

COUNTRIES = ["India", "India (Non-national sample)", "Mexico", "Chile", "Peru"]
NO_TEXTS = TokenizedTexts(
    np.zeros(0, np.int32), np.zeros(0, np.int8), np.zeros(1, np.int64), np.zeros(0, np.bool_)
)


def make_arrays(num_interactions: int = 3) -> FrozenArrays:
    """Each country has interactions of two responses, the first preferred."""
    rows = [
        {
            "interaction_id": f"{country}-{number}",
            "user_id": f"{country}/q{number}",
            "country": country,
            "prompt": f"question {number}",
            "responses": ["yes", "no"],
            "scores": [0.7, 0.3],
            "comparisons": None,
            "margins": None,
            "turn": 0,
        }
        for country in COUNTRIES
        for number in range(num_interactions)
    ]
    table = pa.Table.from_pylist(rows, schema=INTERACTIONS_SCHEMA)
    features = np.random.default_rng(0).normal(size=(2 * len(rows), 4)).astype(np.float32)
    return FrozenArrays(table, NO_TEXTS, features, np.full(len(rows), ""))


def owners(arrays: FrozenArrays, which: np.ndarray) -> set[str]:
    return set(arrays.country[arrays.pairs.interaction[which]].tolist())


def test_a_country_and_its_other_samples_never_train_its_global_head() -> None:
    arrays = make_arrays()
    assert owners(arrays, global_pool(arrays, "India", ("India", "Mexico"), "others")) == {
        "Mexico",
        "Chile",
        "Peru",
    }
    left = global_pool(arrays, "India", ("India", "Mexico"), "not steered")
    assert owners(arrays, left) == {"Chile", "Peru"}


def test_pairs_against_its_own_answer_are_left_out() -> None:
    arrays = make_arrays()
    against = arrays.against.astype("<U9")
    against[arrays.country[arrays.pairs.interaction] == "Chile"] = "Mexico"
    arrays = replace(arrays, against=against)
    assert "Chile" not in owners(arrays, global_pool(arrays, "Mexico", (), "others"))
    assert "Chile" in owners(arrays, global_pool(arrays, "Peru", (), "others"))


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="Peru: a global head needs pairs of other countries"):
        global_pool(make_arrays(), "Peru", tuple(COUNTRIES), "not steered")


def test_the_global_head_is_plain_training_from_nothing() -> None:
    arrays = make_arrays(num_interactions=20)
    config = HeadsConfig(steps=100, global_l2=0.3)
    pool = global_pool(arrays, "Peru", (), "others")
    head = train_global_head(arrays, pool, config)
    first, second = arrays.features[0::2], arrays.features[1::2]
    differences = (first - second)[pool]
    zero = np.zeros(len(pool))
    pairs = ProbedPairs(differences, zero, zero, np.arange(len(zero)))
    (expected,), _ = train_candidates(pairs, [Candidate("full", 0.3)], config, seed=0)
    assert head == pytest.approx(expected, abs=1e-5)
    few = train_global_head(arrays, pool, config.model_copy(update={"max_global_pairs": 10}))
    assert not np.allclose(few, head)


def test_units_are_users_with_pairs() -> None:
    arrays = make_arrays()
    assert count_units(arrays.table) == dict.fromkeys(COUNTRIES, 3)
    tied = arrays.table.to_pylist()
    tied[0]["scores"] = [0.5, 0.5]
    table = pa.Table.from_pylist(tied, schema=INTERACTIONS_SCHEMA)
    assert count_units(table)["India"] == 2


def write_pairs(path: Path) -> Path:
    rows = [
        ("US", "q1", "tea", "mate", "Mexico"),
        ("US", "q1", "tea", "cake", "Mexico"),
        ("US", "q1", "tea", "cake", "South_Korea"),  # two countries' answer
        ("South_Korea", "q1", "rice", "tea", "US"),
    ]
    names = ("country", "question_id", "chosen", "rejected", "other_country")
    lines = [json.dumps(dict(zip(names, row, strict=True), prompt="What?")) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_whose_answer_a_pair_refuses(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl")
    table = read_pairs_file(path, BadRows("stop"), columns=PairColumns(user="question_id"))
    against = read_against(path, "other_country", table)
    countries = [table["country"][row].as_py() for row in range(table.num_rows)]
    found = dict.fromkeys(countries)
    assert found.keys() == {"United States", "South Korea"}
    assert sorted(against.tolist()) == ["", "Mexico", "United States"]
    with pytest.raises(ValueError, match="must have the column 'whose', but no row has it"):
        read_against(path, "whose", table)
