import csv
import json
import math
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scpo.data.reading.bad_rows import BadRows
from scpo.data.sources.global_opinions import (
    OPINIONS_HUB_NAME,
    SurveyQuestion,
    read_global_opinions,
)

NAN = math.nan


def survey_row(question: object, options: object, selections: object) -> dict[str, Any]:
    """A row as the data set prints it; texts stand as they are."""
    is_dict = isinstance(selections, dict)
    return {
        "question": question,
        "selections": repr(defaultdict(list, selections)) if is_dict else selections,
        "options": options if options is None or isinstance(options, str) else repr(options),
        "source": "",
    }


GOOD = survey_row("Is it warm?", ["Yes", "No"], {"Chile": [0.75, 0.25], "Canada": [0.5, 0.5]})


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, GOOD.keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(folder: Path, *rows: dict[str, Any]) -> tuple[list[SurveyQuestion], BadRows]:
    bad_rows = BadRows()
    return read_global_opinions(write_csv(folder / "opinions.csv", list(rows)), bad_rows), bad_rows


def test_a_good_row_is_a_question_with_sorted_countries(tmp_path: Path) -> None:
    survey, bad_rows = read(tmp_path, GOOD)
    shares = {"Canada": (0.5, 0.5), "Chile": (0.75, 0.25)}
    assert survey == [SurveyQuestion("Is it warm?", ("Yes", "No"), shares)]
    assert list(survey[0].shares) == ["Canada", "Chile"]
    assert (bad_rows.num_rows_read, bad_rows.counts, bad_rows.notes) == (1, {}, {})


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("S. Africa", "South Africa"),
        ("S. Africa (Non-national sample)", "S. Africa (Non-national sample)"),
        ("Britain", "United Kingdom"),
        ("Great Britain", "United Kingdom"),
        ("S. Korea", "South Korea"),
        ("Czech Rep.", "Czechia"),
        ("India (Current national sample)", "India"),
        ("India (Old national sample)", "India (Old national sample)"),
        ("Palest. ter.", "Palestine"),
        ("Taiwan ROC", "Taiwan"),
    ],
)
def test_countries_have_the_names_of_prism(label: str, name: str, tmp_path: Path) -> None:
    survey, _ = read(tmp_path, survey_row("Q?", ["a", "b"], {label: [0.5, 0.5]}))
    assert list(survey[0].shares) == [name]


def test_a_scale_of_numbers_becomes_texts(tmp_path: Path) -> None:
    row = survey_row("0 to 10?", ["Worst", 1.0, 9.5, 10, "DK/Refused"], {"Chile": [0.2] * 5})
    survey, _ = read(tmp_path, row)
    assert survey[0].options == ("Worst", "1", "9.5", "10", "DK/Refused")


def test_rounded_shares_are_scaled_to_one(tmp_path: Path) -> None:
    row = survey_row("Q?", ["a", "b", "c"], {"Chile": [0.333, 0.333, 0.333]})
    survey, bad_rows = read(tmp_path, GOOD, row)
    assert survey[1].shares["Chile"] == pytest.approx([1 / 3] * 3, abs=1e-15)
    assert bad_rows.notes == {"shares_rescaled": 1}


@pytest.mark.parametrize(
    ("row", "reason", "field"),
    [
        (survey_row("", ["a", "b"], {"Chile": [0.5, 0.5]}), "empty_text", "question"),
        (survey_row("Q?", "", {"Chile": [0.5, 0.5]}), "empty_text", "options"),
        (survey_row("Q?", [], {"Chile": []}), "too_few_options", "options"),
        (survey_row("Q?", ["a"], {"Chile": [1.0]}), "too_few_options", "options"),
        (survey_row("Q?", ["a", " "], {"Chile": [0.5, 0.5]}), "empty_text", "options"),
        (survey_row("Q?", ["a", None], {"Chile": [0.5, 0.5]}), "wrong_type", "options"),
        (survey_row("Q?", ["a", " a"], {"Chile": [0.5, 0.5]}), "repeated_option", "options"),
        (survey_row("Q?", {"a": 1}, {"Chile": [0.5, 0.5]}), "wrong_type", "options"),
        (survey_row("Q?", "[open('b')]", {"Chile": [0.5, 0.5]}), "invalid_literal", "options"),
        (survey_row("Q?", ["a", "b"], "defaultdict(x)"), "invalid_literal", "selections"),
        (survey_row("Q?", ["a", "b"], "[0.5, 0.5]"), "wrong_type", "selections"),
        (survey_row("Q?", ["a", "b"], {}), "no_answer", "selections"),
        (survey_row("Q?", ["a", "b"], {"Chile": [0.5]}), "shares_do_not_fit", "selections"),
        (survey_row("Q?", ["a", "b"], {"Chile": []}), "shares_do_not_fit", "selections"),
        (survey_row("Q?", ["a", "b"], {"Chile": [0.0, 0.0]}), "shares_do_not_sum", "selections"),
        (survey_row("Q?", ["a", "b"], {"Chile": [0.5, 0.47]}), "shares_do_not_sum", "selections"),
        (survey_row("Q?", ["a", "b"], {"Chile": [NAN, NAN]}), "share_out_of_range", "selections"),
        (survey_row("Q?", ["a", "b"], {"Chile": [1.5, -0.5]}), "share_out_of_range", "selections"),
        (survey_row("Q?", ["a", "b"], {"Chile": ["1", 0]}), "wrong_type", "selections"),
        (survey_row("Q?", ["a", "b"], {"Chile": 1.0}), "wrong_type", "selections"),
        (survey_row("Q?", ["a", "b"], {"N/A": [0.5, 0.5]}), "user_without_country", "selections"),
        (survey_row("Q?", ["a", "b"], {3: [0.5, 0.5]}), "wrong_type", "selections"),
    ],
)
def test_one_planted_bad_row(tmp_path: Path, row: dict[str, Any], reason: str, field: str) -> None:
    survey, bad_rows = read(tmp_path, row, GOOD)
    assert [item.question for item in survey] == ["Is it warm?"]
    assert bad_rows.counts == {reason: 1}
    entry = bad_rows.rejected[0]
    assert (entry["line"], entry["field"]) == (2, field)
    bad_rows.write(tmp_path / "quarantine.jsonl")
    assert json.loads((tmp_path / "quarantine.jsonl").read_text())["reason"] == reason


def test_one_countrys_broken_answer_leaves_the_others(tmp_path: Path) -> None:
    row = survey_row("Q?", ["a", "b"], {"Chile": [0.1, 0.1], "S. Korea": [0.9, 0.1]})
    survey, bad_rows = read(tmp_path, row)
    assert survey == [SurveyQuestion("Q?", ("a", "b"), {"South Korea": (0.9, 0.1)})]
    assert bad_rows.rejected[0]["row"] == {
        "question": "Q?",
        "country": "Chile",
        "shares": [0.1, 0.1],
    }


def test_two_labels_of_one_country(tmp_path: Path) -> None:
    same = survey_row("Q?", ["a", "b"], {"Britain": [0.5, 0.5], "Great Britain": [0.5, 0.5]})
    survey, bad_rows = read(tmp_path, same)
    assert survey[0].shares == {"United Kingdom": (0.5, 0.5)}
    assert bad_rows.notes == {"repeated_answer": 1}
    other = survey_row("Q?", ["a", "b"], {"Britain": [0.5, 0.5], "Great Britain": [0.6, 0.4]})
    survey, bad_rows = read(tmp_path, other)
    assert survey == []
    assert bad_rows.counts == {"conflicting_shares": 2}


def test_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    rows = [
        GOOD,
        survey_row("Is it warm?", ["Yes", "No"], {"Peru": [1.0, 0.0]}),
        survey_row("Is it warm?", ["No", "Yes"], {"Peru": [0.0, 1.0]}),
        survey_row("Again?", ["Yes", "No"], {"Peru": [0.1, 0.9]}),
        survey_row("Again?", ["Yes", "No"], {"Peru": [0.2, 0.8], "Mali": [0.5, 0.5]}),
    ]
    expected, bad_rows = read(tmp_path, *rows)
    assert [(item.question, list(item.shares)) for item in expected] == [
        ("Again?", ["Mali"]),
        ("Is it warm?", ["Peru"]),
        ("Is it warm?", ["Canada", "Chile", "Peru"]),
    ]
    assert bad_rows.counts == {"conflicting_shares": 2}
    random.Random(1).shuffle(rows)
    assert read(tmp_path, *rows)[0] == expected


def test_stop_ends_at_the_first_bad_row(tmp_path: Path) -> None:
    row = survey_row("Q?", ["a", "b"], {"Chile": [0.5, 0.2]})
    file = write_csv(tmp_path / "x.csv", [GOOD, row])
    with pytest.raises(ValueError, match=r"x\.csv:3: field 'selections': The sum of shares"):
        read_global_opinions(file, BadRows("stop"))


def test_other_kinds_of_files_and_folders_give_the_same(tmp_path: Path) -> None:
    expected, _ = read(tmp_path, GOOD)
    (tmp_path / "rows.jsonl").write_text(json.dumps(GOOD) + "\n")
    (tmp_path / "shards").mkdir()
    pq.write_table(pa.Table.from_pylist([GOOD]), tmp_path / "shards" / "train-0.parquet")
    for name in ("rows.jsonl", "shards", "shards/train-0.parquet"):
        assert read_global_opinions(tmp_path / name, BadRows("stop")) == expected
    with pytest.raises(ValueError, match="A file of rows must end in"):
        read_global_opinions(write_csv(tmp_path / "opinions.txt", [GOOD]), BadRows())


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No file at"):
        read_global_opinions(tmp_path / "none.csv", BadRows())


def test_rows_of_the_hub_count_as_those_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, config: str | None, *, split: str) -> list[dict[str, Any]]:
        assert (name, config, split) == (OPINIONS_HUB_NAME, None, "train")
        return [GOOD, GOOD | {"selections": None}]

    monkeypatch.setattr("scpo.data.layouts.hub_rows.load_dataset", load)
    bad_rows = BadRows()
    survey = read_global_opinions(OPINIONS_HUB_NAME, bad_rows)
    assert [item.question for item in survey] == ["Is it warm?"]
    assert bad_rows.num_rows_read == 2
    assert bad_rows.counts == {"missing_field": 1}
    assert bad_rows.rejected[0]["file"] == OPINIONS_HUB_NAME


@pytest.mark.data
def test_real_rows(data_folder: Path) -> None:
    bad_rows = BadRows()
    file = data_folder / "globalopinionqa" / "global_opinions_subset.csv"
    survey = read_global_opinions(file, bad_rows)
    assert bad_rows.num_rows_read == len(survey) == 1822
    assert bad_rows.counts == {}
    assert bad_rows.notes == {"shares_rescaled": 983}
    assert sum(len(item.shares) for item in survey) == 13224
    assert max(len(item.options) for item in survey) == 18
    countries = [country for item in survey for country in item.shares]
    number = {name: countries.count(name) for name in ("South Africa", "Mexico", "New Zealand")}
    assert number == {"South Africa": 150, "Mexico": 276, "New Zealand": 43}
    assert len(set(countries)) == 126
    for item in survey:
        for shares in item.shares.values():
            assert math.fsum(shares) == pytest.approx(1, abs=1e-12)
