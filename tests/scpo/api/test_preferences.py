"""Preferences from DataFrames, files and data sets, and the report of what was refused."""

import doctest
import json

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import scpo
import scpo.api.preferences
from scpo.config import DataConfig
from scpo.data.interactions import read_interactions
from scpo.data.sources.prepare import prepare_source
from scpo.files.output_folder import output_folder

ROWS = [
    {"prompt": "Sky?", "chosen": "blue", "rejected": "red", "user": 1, "country": "MX"},
    {"prompt": "Sky?", "chosen": "blue", "rejected": "grey", "user": 1, "country": "Mexico"},
    {"prompt": "Sea?", "chosen": "wet", "rejected": "dry", "user": 2, "country": "Chile"},
]


def test_a_frame_a_file_and_a_data_set_give_the_same(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    frame = pd.DataFrame(ROWS)
    indexed = [
        frame.set_index("user"),
        frame.set_index(["country", "user"]),
        frame.set_index("user", drop=False),
    ]
    tables = [
        scpo.Preferences.from_pandas(frame).table,
        scpo.Preferences.from_file(file).table,
        scpo.Preferences.from_dataset(datasets.Dataset.from_list(ROWS)).table,
        scpo.Preferences.from_dataset(
            datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)})
        ).table,
        scpo.Preferences.from_records(iter(ROWS)).table,
        *(scpo.Preferences.from_pandas(frame).table for frame in indexed),
        *(
            scpo.Preferences.from_dataset(
                datasets.Dataset.from_list(ROWS).with_format(kind, columns=["prompt", "chosen"])
            ).table
            for kind in ("torch", "pandas")
        ),
    ]
    for kind in ("numpy", "pandas", "arrow"):
        formatted = datasets.Dataset.from_list(ROWS).with_format(kind)
        formatted.save_to_disk(str(tmp_path / kind))
        tables.append(scpo.Preferences.from_dataset(formatted).table)
        tables.append(scpo.Preferences.from_file(tmp_path / kind).table)
    assert all(table.equals(tables[0]) for table in tables)
    assert tables[0]["comparisons"].to_pylist() == [[[0, 1]], [[0, 1], [0, 2]]] or tables[0][
        "comparisons"
    ].to_pylist() == [[[1, 0]], [[0, 1], [0, 2]]]


def test_counts_and_words():
    data = scpo.Preferences.from_pandas(pd.DataFrame(ROWS))
    assert data.countries == ["Chile", "Mexico"]
    counts = data.counts()
    assert counts.loc["Mexico", ["users", "interactions", "pairs"]].tolist() == [1, 1, 2]
    assert repr(data) == "Preferences(a DataFrame: 3 pairs of 2 users in Chile, Mexico)"
    assert len(data.report()) == 0
    assert list(data.report().columns)[:2] == ["reason", "message"]


def test_what_is_refused_is_reported():
    bad = [
        {**ROWS[2], "rejected": "wet"},
        {**ROWS[2], "country": None},
        {**ROWS[2], "chosen": np.nan},
        ROWS[2],
    ]
    data = scpo.Preferences.from_pandas(pd.DataFrame(ROWS + bad))
    report = data.report()
    assert report[["line", "reason"]].values.tolist() == [
        [4, "chosen_equals_rejected"],
        [5, "user_without_country"],
        [6, "missing_field"],
    ]
    assert data.notes() == {"pairs that repeat another one of that user, merged": 1}
    assert "3 rows refused" in repr(data)
    with pytest.raises(ValueError, match="a DataFrame:4: field 'rejected'"):
        scpo.Preferences.from_pandas(pd.DataFrame(ROWS + bad), on_bad_rows="stop")
    with pytest.raises(ValueError, match=r"of 1 row none is \(1 a pair whose two texts"):
        scpo.Preferences.from_records(bad[:1])
    with pytest.raises(ValueError, match=r"The first: field 'country': A text must stand here"):
        scpo.Preferences.from_records([{**ROWS[0], "country": 1}])


def test_messages_of_a_parquet_file_through_pandas(tmp_path):
    rows = [
        {
            "chosen": [
                {"role": "user", "content": "Sky?"},
                {"role": "assistant", "content": text},
            ],
            "rejected": [
                {"role": "user", "content": "Sky?"},
                {"role": "assistant", "content": "red"},
            ],
            "gap": margin,
        }
        for text, margin in (("blue", 0.5), ("grey", None))
    ]
    frame = pa.Table.from_pylist(rows).to_pandas()  # lists are arrays there
    data = scpo.Preferences.from_pandas(frame, default_country="Peru", margin="gap")
    (row,) = data.table.to_pylist()
    assert (row["prompt"], row["responses"], row["margins"]) == (
        "Sky?",
        ["blue", "grey", "red"],
        [0.5, None],
    )
    data.save(tmp_path / "data")
    assert read_interactions(tmp_path / "data").equals(data.table)
    assert scpo.Preferences.from_file(tmp_path / "data").table.equals(data.table)


def test_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"scpo": scpo, "pd": pd, "datasets": datasets}
    found = doctest.testmod(scpo.api.preferences, extraglobs=names)
    assert found.failed == 0
    assert found.attempted > 3


@pytest.mark.parametrize(
    ("given", "kind", "fault"),
    [
        ({"promt": "question"}, TypeError, "without an argument promt"),
        ({"user": None}, ValueError, "user must be a text, but got None"),
        ({"prompt": 5}, ValueError, "prompt must be a text, but got 5"),
        ({"margin_from_scores": "no"}, ValueError, "must be True or False, but got 'no'"),
        ({"on_bad_rows": "raise"}, ValueError, "`on_bad_rows` must be one of"),
    ],
)
def test_arguments_that_would_not_be_read_are_refused(given, kind, fault):
    with pytest.raises(kind, match=fault):
        scpo.Preferences.from_records([ROWS[0]], **given)


def test_what_is_no_table_is_refused_by_what_it_is():
    with pytest.raises(ValueError, match="A DataFrame must be given, but got a list"):
        scpo.Preferences.from_pandas([ROWS[0]])
    with pytest.raises(ValueError, match="row 1 is a str"):
        scpo.Preferences.from_records(pd.DataFrame([ROWS[0]]))
    twice = pd.DataFrame([[*ROWS[0].values(), "green"]], columns=[*ROWS[0], "chosen"])
    with pytest.raises(ValueError, match="Each column must come once, but chosen do not"):
        scpo.Preferences.from_pandas(twice)


def test_a_folder_of_something_else_is_not_written_over(tmp_path):
    data = scpo.Preferences.from_records([ROWS[0]])
    folder = data.save(tmp_path / "data")
    scpo.Preferences.from_records([ROWS[0] | {"country": "Chile"}]).save(folder)
    assert scpo.Preferences.from_file(folder).countries == ["Chile"]
    with pytest.raises(ValueError, match="prepared already, so prompt, subset would have no"):
        scpo.Preferences.from_file(folder, prompt="question", subset="a")
    config = DataConfig(source="synthetic")
    with output_folder(tmp_path / "prepared", "data", "settings"):
        prepare_source(config, tmp_path / "prepared")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("kept")
    for name, fault in (("prepared", "holds prepared data"), ("notes", "holds other files")):
        before = {path.name for path in (tmp_path / name).iterdir()}
        with pytest.raises(ValueError, match=fault):
            data.save(tmp_path / name)
        assert {path.name for path in (tmp_path / name).iterdir()} == before
    with pytest.raises(ValueError, match="got the URI s3://bucket/data"):
        data.save("s3://bucket/data")
