import json
from pathlib import Path
from typing import Any

import pytest

from scpo.data.reading.bad_rows import REASONS, BadRows, RowFault
from scpo.data.reading.jsonl import read_jsonl


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


def test_long_texts_and_many_rows_are_cut_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scpo.data.reading.bad_rows.MAX_LISTED", 3)
    bad_rows = BadRows(num_rows_read=6)
    for line in range(1, 6):
        bad_rows.reject(RowFault("empty_text", "No text."), "a.jsonl", line, b"x" * 25_000)
    assert bad_rows.counts == {"empty_text": 5}
    assert bad_rows.notes == {"unlisted_row": 2}
    bad_rows.write(tmp_path / "q.jsonl")
    lines = (tmp_path / "q.jsonl").read_text().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[0])["row"] == "x" * 10_000 + "... (15,000 more characters)"


def test_file_of_bad_rows_alone_is_not_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scpo.data.reading.bad_rows.MAX_LISTED", 3)
    bad_rows = BadRows(num_rows_read=4)
    for line in range(1, 4):
        bad_rows.reject(RowFault("empty_text", "No text."), "a.jsonl", line, {})
    match = (
        r"a\.jsonl: 4 of the first 4 rows are bad, the last since: No text\. Is it the right file"
    )
    with pytest.raises(ValueError, match=match):
        bad_rows.reject(RowFault("empty_text", "No text."), "a.jsonl", 4, {})


def test_nearly_all_rows_bad_is_as_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scpo.data.reading.bad_rows.MAX_LISTED", 500)
    fault = RowFault("empty_text", "No text.")
    bad_rows = BadRows(num_rows_read=507)
    for line in range(1, 502):  # 501 / 507 < 0.99
        bad_rows.reject(fault, "a.jsonl", line, {})
    with pytest.raises(ValueError, match="502 of the first 507 rows are bad"):
        bad_rows.reject(fault, "a.jsonl", 507, {})


def test_wide_rows_are_cut(tmp_path: Path) -> None:
    bad_rows = BadRows(num_rows_read=2)
    fault = RowFault("empty_text", "No text.")
    bad_rows.reject(fault, "a.jsonl", 1, {str(number): number for number in range(2_500)})
    bad_rows.reject(fault, "a.jsonl", 2, {"a": [0] * 1_001, "b" * 10_001: 1})
    wide, long = (entry["row"] for entry in bad_rows.rejected)
    assert list(wide) == [*map(str, range(1_000)), "..."]
    assert wide["..."] == "... (1,500 more)"
    assert long == {"a": [0] * 1_000 + ["... (1 more)"], "b" * 10_000: 1}


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
    with pytest.raises(ValueError, match="`on_bad_rows` must be one of"):
        BadRows("ignore")  # type: ignore[arg-type]


def test_every_reason_has_a_one_line_description() -> None:
    assert all(name.islower() and text and "\n" not in text for name, text in REASONS.items())


def test_a_file_of_somebody_elses_is_not_written_over(tmp_path: Path) -> None:
    notes = tmp_path / "quarantine.jsonl"
    notes.write_text("my notes\n")
    with pytest.raises(ValueError, match="is where refused rows are listed, but holds"):
        BadRows().write(notes)
    assert notes.read_text() == "my notes\n"
    notes.unlink()
    bad_rows = BadRows()
    bad_rows.reject(RowFault("empty_text", "No text.", "x"), "a.jsonl", 3, {"x": 1})
    bad_rows.write(notes)
    bad_rows.write(notes)


def test_a_refused_row_can_be_read_back_however_deep(tmp_path: Path) -> None:
    deep: Any = "a"
    for _ in range(63):  # a row of 64 may be read
        deep = [deep]
    bad = BadRows("quarantine")
    bad.reject(RowFault("missing_field", "x", "y"), "rows.jsonl", 1, {"deep": deep})
    bad.write(tmp_path / "quarantine.jsonl")
    [(_, found)] = read_jsonl(tmp_path / "quarantine.jsonl", BadRows("stop"))
    assert json.loads(found["row"]) == {"deep": deep}
