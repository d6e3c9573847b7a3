"""CSV files as ranking, arms table and curves write them: rows in, a whole file out."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scpo.files.atomic import write_text

_FORMULA = re.compile(r"(?![+-]?[0-9.]+(?:e[+-]?[0-9]+)?$)[=+\-@\t\r]")


def write_csv(columns: Sequence[str], rows: Sequence[dict[str, object]], path: Path) -> None:
    """Write rows as CSV: None is an empty cell, true and false in words, six digits.

    A text that a spreadsheet would run as a formula is quoted (`quote_formulas`).

    Raises:
        ValueError: A row has a key that is no column.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in quote_formulas(row).items()})
    write_text(path, text.getvalue())


def quote_formulas(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row in which no text is a formula: ' stands before = + - @ TAB CR.

    A text that is a number stays.
    """
    return {
        key: f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
        for key, value in row.items()
    }


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value.replace("\r", " ")  # which csv does not quote
    return f"{value:.6g}" if isinstance(value, float) else value
