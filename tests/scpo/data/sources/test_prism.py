import gzip
import json
import math
import random
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest

from scpo.data.reading.bad_rows import BadRows
from scpo.data.sources.prism import PRISM_HUB_NAME, read_prism

USERS = [("u1", "Canada"), ("u2", "Korea, Republic of")]


def survey_row(user: str, country: object) -> dict[str, Any]:
    return {"user_id": user, "location": {"reside_country": country}, "age": "18-24"}


def utterance(number: int, response: object, score: object, **changes: Any) -> dict[str, Any]:
    row = {
        "utterance_id": f"ut{number}",
        "interaction_id": "int1",
        "user_id": "u1",
        "turn": 0,
        "user_prompt": "Sky?",
        "model_response": response,
        "score": score,
        "model_name": "ignored",
    }
    return row | changes


GOOD = [utterance(1, "blue", 80), utterance(2, "red", 20)]


def write_folder(folder: Path, utterances: list[Any], survey: list[Any] | None = None) -> Path:
    rows = [survey_row(*user) for user in USERS] if survey is None else survey
    for name, content in (("survey", rows), ("utterances", utterances)):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in content]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def read(folder: Path, *args: Any) -> tuple[list[dict[str, Any]], BadRows]:
    bad_rows = BadRows()
    return read_prism(write_folder(folder, *args), bad_rows).to_pylist(), bad_rows


def test_good_rows_become_one_interaction(tmp_path: Path) -> None:
    rows, bad_rows = read(tmp_path, GOOD)
    assert rows == [
        {
            "interaction_id": "int1",
            "user_id": "u1",
            "country": "Canada",
            "prompt": "Sky?",
            "responses": ["blue", "red"],
            "scores": [80.0, 20.0],
            "comparisons": None,
            "margins": None,
            "turn": 0,
            "unit": None,
            "messages": None,
            "vetted": None,
            "prompt_prefix": None,
        }
    ]
    assert bad_rows.rejected == []
    assert bad_rows.notes == {"user_without_utterances": 1}
    assert bad_rows.num_rows_read == 4


def test_country_is_brought_to_its_one_name(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, [row | {"user_id": "u2"} for row in GOOD])
    assert rows[0]["country"] == "South Korea"


@pytest.mark.parametrize(
    ("row", "reason", "field"),
    [
        (utterance(3, "x", math.nan), "score_not_finite", "score"),
        (utterance(3, "x", -math.inf), "score_not_finite", "score"),
        (utterance(3, "x", None), "missing_field", "score"),
        (utterance(3, "x", "50"), "wrong_type", "score"),
        (utterance(3, "x", 0), "score_out_of_range", "score"),
        (utterance(3, "x", 101), "score_out_of_range", "score"),
        (utterance(3, "", 50), "empty_text", "model_response"),
        (utterance(3, "EMPTY STRING", 50), "empty_text", "model_response"),
        (utterance(3, "\u0007\u200b", 50), "empty_text", "model_response"),
        (utterance(3, None, 50), "missing_field", "model_response"),
        (utterance(3, "x\0", 50), "nul_character", "model_response"),
        (utterance(3, "\ud800", 50), "lone_surrogate", "model_response"),
        (utterance(3, "x", 50, user_prompt=" "), "empty_text", "user_prompt"),
        (utterance(3, "x", 50, user_id="u9"), "unknown_user", "user_id"),
        (utterance(3, "x", 50, user_id=None), "missing_field", "user_id"),
        (utterance(3, "x", 50, utterance_id=None), "missing_field", "utterance_id"),
        (utterance(3, "x", 50, interaction_id=""), "empty_text", "interaction_id"),
        (utterance(3, "x", 50, turn="0"), "wrong_type", "turn"),
        ('{"utterance_id": "ut3", "inter', "invalid_json", None),
        (utterance(3, "x", 50, interaction_id="int2"), "one_response", "interaction_id"),
    ],
)
def test_one_planted_bad_row(tmp_path: Path, row: Any, reason: str, field: str | None) -> None:
    rows, bad_rows = read(tmp_path, [GOOD[0], row, GOOD[1]])
    assert [made["responses"] for made in rows] == [["blue", "red"]]
    assert bad_rows.counts == {reason: 1}
    entry = bad_rows.rejected[0]
    assert (entry["line"], entry["field"]) == (2, field)
    assert entry["file"] == str(tmp_path / "utterances.jsonl")


@pytest.mark.parametrize(
    "survey", [survey_row("u3", "Prefer not to say"), survey_row("u3", None), {"user_id": "u3"}]
)
def test_utterances_of_a_user_without_country(tmp_path: Path, survey: dict[str, Any]) -> None:
    rows, bad_rows = read(
        tmp_path,
        [*GOOD, utterance(3, "x", 5, user_id="u3"), utterance(4, "y", 6, user_id="u3")],
        [survey_row(*USERS[0]), survey],
    )
    assert len(rows) == 1
    assert bad_rows.counts == {"user_without_country": 2}


@pytest.mark.parametrize(
    ("row", "reason", "field"),
    [
        ({"location": {}}, "missing_field", "user_id"),
        ({"user_id": "u3", "location": "Canada"}, "wrong_type", "location"),
        (survey_row("u3", 7), "wrong_type", "location.reside_country"),
    ],
)
def test_bad_survey_row(tmp_path: Path, row: Any, reason: str, field: str) -> None:
    rows, bad_rows = read(tmp_path, GOOD, [row, survey_row(*USERS[0])])
    assert len(rows) == 1
    assert bad_rows.counts == {reason: 1}
    assert bad_rows.rejected[0]["field"] == field
    assert bad_rows.rejected[0]["file"].endswith("survey.jsonl")


def test_user_listed_twice(tmp_path: Path) -> None:
    survey = [survey_row("u1", "Canada"), survey_row("u1", "Canada")]
    rows, bad_rows = read(tmp_path, GOOD, survey)
    assert len(rows) == 1
    assert bad_rows.notes == {"repeated_user": 1}
    rows, bad_rows = read(tmp_path, GOOD, [*survey, survey_row("u1", "Chile")])
    assert rows == []
    assert bad_rows.counts == {"conflicting_user": 3, "user_without_country": 2}


def test_duplicate_utterance_id_with_the_same_content_is_merged(tmp_path: Path) -> None:
    rows, bad_rows = read(tmp_path, [*GOOD, GOOD[0] | {"model_name": "other"}])
    assert rows[0]["responses"] == ["blue", "red"]
    assert bad_rows.rejected == []
    assert bad_rows.notes["repeated_utterance"] == 1


def test_duplicate_utterance_id_with_other_content_is_refused_whole(tmp_path: Path) -> None:
    rows, bad_rows = read(tmp_path, [*GOOD, utterance(3, "grey", 9), utterance(1, "blue", 81)])
    assert rows[0]["responses"] == ["red", "grey"]
    assert bad_rows.counts == {"duplicate_utterance": 2}
    assert [entry["line"] for entry in bad_rows.rejected] == [1, 4]


@pytest.mark.parametrize("change", [{"user_id": "u2"}, {"user_prompt": "Sea?"}, {"turn": 1}])
def test_mixed_interaction_is_refused_whole(tmp_path: Path, change: dict[str, Any]) -> None:
    other = [row | {"interaction_id": "int0"} for row in GOOD]
    other = [row | {"utterance_id": f"other{i}"} for i, row in enumerate(other)]
    rows, bad_rows = read(tmp_path, [*GOOD, utterance(3, "grey", 9) | change, *other])
    assert [row["interaction_id"] for row in rows] == ["int0"]
    assert bad_rows.counts == {"mixed_interaction": 3}


def test_same_text_with_the_same_score_is_merged(tmp_path: Path) -> None:
    rows, bad_rows = read(tmp_path, [*GOOD, utterance(3, "blue ", 80)])
    assert rows[0]["responses"] == ["blue", "red"]
    assert bad_rows.notes["repeated_response"] == 1


def test_same_text_with_another_score_is_refused(tmp_path: Path) -> None:
    rows, bad_rows = read(tmp_path, [*GOOD, utterance(3, "blue", 70)])
    assert rows == []
    assert bad_rows.counts == {"contradiction": 2, "one_response": 1}


def test_texts_that_differ_in_line_ends_or_accents_typed_otherwise_are_one(tmp_path: Path) -> None:
    asked = {"user_prompt": "caf\u00e9\nopen?"}
    other = {"user_prompt": "cafe\u0301\r\nopen?"}
    rows, bad_rows = read(
        tmp_path,
        [
            utterance(1, "yes\nno", 80, **asked),
            utterance(2, "yes\r\nno", 80, **other),
            utterance(3, "no", 20, **asked),
        ],
    )
    assert (rows[0]["prompt"], rows[0]["responses"]) == ("caf\u00e9\nopen?", ["yes\nno", "no"])
    assert bad_rows.notes["repeated_response"] == 1


def test_repeated_interaction_is_merged(tmp_path: Path) -> None:
    copies = [
        utterance(8, "red", 20, interaction_id="int0"),
        utterance(9, "blue", 80, interaction_id="int0"),
    ]
    rows, bad_rows = read(tmp_path, [*GOOD, *copies])
    assert [row["interaction_id"] for row in rows] == ["int0"]
    assert bad_rows.notes["repeated_interaction"] == 1


def test_more_than_four_responses_are_kept_and_counted(tmp_path: Path) -> None:
    rows, bad_rows = read(tmp_path, [utterance(i, f"r{i}", 10 * i) for i in range(1, 6)])
    assert len(rows[0]["responses"]) == 5
    assert bad_rows.notes["large_interaction"] == 1


def test_stop_raises_at_the_first_bad_row(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [GOOD[0], utterance(2, "red", 200)])
    match = r"utterances\.jsonl:2: field 'score': `1 <= score <= 100` must hold"
    with pytest.raises(ValueError, match=match):
        read_prism(folder, BadRows("stop"))


def test_result_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    utterances = [
        utterance(
            i,
            f"r{i % 7}",
            10 + (i * 13) % 80,
            interaction_id=f"int{i % 5}",
            user_id=f"u{1 + i % 5 % 2}",
        )
        for i in range(40)
    ]
    utterances += [utterance(3, "else", 4), GOOD[0], GOOD[0], utterance(50, "x", math.nan)]
    survey = [survey_row(*user) for user in USERS] + [survey_row("u3", "Chile")]
    expected, bad_rows = read(tmp_path, utterances, survey)
    assert len(expected) >= 2
    key = "interaction_id"
    for seed in range(3):
        shuffled = random.Random(seed).sample(utterances, len(utterances))
        rows, shuffled_bad = read(tmp_path, shuffled, survey[::-1])
        assert sorted(rows, key=lambda row: row[key]) == sorted(expected, key=lambda row: row[key])
        assert shuffled_bad.counts == bad_rows.counts
        assert shuffled_bad.notes == bad_rows.notes


def test_gzip_files_are_found(tmp_path: Path) -> None:
    write_folder(tmp_path, GOOD)
    for name in ("survey", "utterances"):
        plain = tmp_path / f"{name}.jsonl"
        (tmp_path / f"{name}.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    assert read_prism(tmp_path, BadRows()).num_rows == 1


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No survey\.jsonl in"):
        read_prism(tmp_path / "nowhere", BadRows())
    write_folder(tmp_path, GOOD)
    (tmp_path / "utterances.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"No utterances\.jsonl in"):
        read_prism(str(tmp_path), BadRows())


def test_hub_rows_take_the_same_path(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {
        "survey": [survey_row(*user) for user in USERS],
        "utterances": [*GOOD, utterance(3, "EMPTY STRING", 50)],
    }

    def load(name: str, configuration: str, *, split: str) -> datasets.Dataset:
        assert (name, split) == (PRISM_HUB_NAME, "train")
        return datasets.Dataset.from_list(rows[configuration])

    monkeypatch.setattr("scpo.data.layouts.hub_rows.load_dataset", load)
    bad_rows = BadRows()
    table = read_prism(PRISM_HUB_NAME, bad_rows)
    assert table["responses"].to_pylist() == [["blue", "red"]]
    assert bad_rows.rejected[0]["file"] == f"{PRISM_HUB_NAME}/utterances"
    assert bad_rows.rejected[0]["line"] == 3


@pytest.mark.data
def test_real_part_of_prism(data_folder: Path) -> None:
    bad_rows = BadRows()
    table = read_prism(data_folder / "prism", bad_rows)
    # 1218 interactions of 3682 utterances; 5 are EMPTY STRING, which leaves one response alone.
    assert bad_rows.counts == {"empty_text": 5, "one_response": 1}
    assert bad_rows.notes == {"large_interaction": 1}
    assert bad_rows.num_rows_read == 310 + 3682
    assert table.num_rows == 1217
    assert sum(map(len, table["responses"].to_pylist())) == 3682 - 6
    assert len(table["user_id"].unique()) == 310
    countries = set(table["country"].to_pylist())
    assert len(countries) == 28
    assert "South Korea" in countries
    assert isinstance(table, pa.Table)
