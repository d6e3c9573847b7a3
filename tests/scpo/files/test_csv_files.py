"""CSV files: what stands in a cell is read as a text or a number, never as a formula."""

import csv
from pathlib import Path

import pytest

from scpo.files.csv_files import quote_formulas, write_csv


@pytest.mark.parametrize(
    "text", ["=1+1", "+1;2", "-a", "@SUM(A1)", "\t=1", "\r=1", "-1+cmd|' /C calc'!A0", "--1", "-"]
)
def test_a_formula_becomes_a_text(tmp_path: Path, text: str) -> None:
    write_csv(["country", "gain"], [{"country": text, "gain": -0.25}], tmp_path / "a.csv")
    told = "'" + text.replace("\r", " ")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["country", "gain"], [told, "-0.25"]]


def test_numbers_and_other_texts_stay() -> None:
    row = {
        "a": "-0.5",
        "b": "+1e-5",
        "c": "Côte d'Ivoire",
        "d": -3,
        "e": None,
        "f": "x=1",
        "g": "",
    }
    assert quote_formulas(row) == row


def test_cells_of_other_types_and_unknown_columns(tmp_path: Path) -> None:
    rows = [{"a": True, "b": None}, {"a": 0.1234567, "b": 7}]
    write_csv(["a", "b"], rows, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "a,b\ntrue,\n0.123457,7\n"
    with pytest.raises(ValueError, match="not in fieldnames"):
        write_csv(["a"], [{"b": 1}], tmp_path / "a.csv")
