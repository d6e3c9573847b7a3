import json
from pathlib import Path

import pytest

from scpo.data.reading.bad_rows import REASONS, BadRows, RowFault


def test_counts_by_reason_and_writes_one_object_a_row(tmp_path: Path) -> None:
    bad_rows = BadRows()
    no_text = RowFault("empty_text", "No text.", "x")
    bad_rows.reject(no_text, Path("a.jsonl"), 3, {"x": 1})
    bad_rows.reject(no_text, "a.jsonl", 4, {"x": 2})
    bad_rows.reject(RowFault("not_utf8", "Bad byte."), "b.jsonl", 1, b"\xff")
    bad_rows.note("blank_line", 2)
    bad_rows.write(tmp_path / "deep" / "quarantine.jsonl")
    assert bad_rows.counts == {"empty_text": 2, "not_utf8": 1}
    assert bad_rows.notes == {"blank_line": 2}
    lines = (tmp_path / "deep" / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {
        "reason": "empty_text",
        "message": "No text.",
        "file": "a.jsonl",
        "line": 3,
        "field": "x",
        "row": {"x": 1},
    }
    assert json.loads(lines[2])["row"] == "\\xff"
    assert len(lines) == 3


def test_quarantine_is_strict_json_whatever_the_row_holds(tmp_path: Path) -> None:
    bad_rows = BadRows()
    row = {"nan": float("nan"), "half": "\ud800", "list": [b"\xff", {1, 2}], 3: 10**30}
    bad_rows.reject(RowFault("wrong_type", "m"), "f", 1, row)
    bad_rows.write(tmp_path / "q.jsonl")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    entry = json.loads((tmp_path / "q.jsonl").read_text("ascii"), parse_constant=refuse)
    assert entry["row"] == {
        "nan": "nan",
        "half": "\ud800",
        "list": ["\\xff", "{1, 2}"],
        "3": 10**30,
    }


def test_no_bad_row_makes_an_empty_file(tmp_path: Path) -> None:
    BadRows().write(tmp_path / "q.jsonl")
    assert (tmp_path / "q.jsonl").read_bytes() == b""


def test_stop_names_file_line_and_field() -> None:
    bad_rows = BadRows("stop")
    with pytest.raises(ValueError, match=r"^a\.jsonl:7: field 'score': Too high\.$"):
        bad_rows.reject(RowFault("score_out_of_range", "Too high.", "score"), "a.jsonl", 7, {})
    with pytest.raises(ValueError, match=r"^a\.jsonl:8: Torn\.$"):
        bad_rows.reject(RowFault("torn_line", "Torn."), "a.jsonl", 8, {})


def test_codes_and_policy_are_checked() -> None:
    with pytest.raises(ValueError, match="`reason` must be one of"):
        BadRows().reject(RowFault("nonsense", "m"), "f", 1, {})
    with pytest.raises(ValueError, match="`code` must be one of"):
        BadRows().note("nonsense")
    with pytest.raises(ValueError, match="`policy` must be one of"):
        BadRows("ignore")  # type: ignore[arg-type]


def test_every_reason_has_a_one_line_description() -> None:
    assert all(name.islower() and text and "\n" not in text for name, text in REASONS.items())
