"""CSV files as ranking, arms table and curves write them: rows in, a whole file out."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from scpo.files.atomic import write_text


def write_csv(columns: Sequence[str], rows: Sequence[dict[str, object]], path: Path) -> None:
    """Write rows as CSV: None is an empty cell, true and false in words, six digits.

    Raises:
        ValueError: A row has a key that is no column.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    write_text(path, text.getvalue())


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, float) else value
