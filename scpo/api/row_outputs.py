"""Files of rows that a command writes: their kind, and whether an older one may be replaced."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scpo.data.reading.bad_rows import BadRows, RowFault
from scpo.data.reading.jsonl import read_jsonl
from scpo.data.reading.lines import read_lines


def is_parquet_file(path: Path) -> bool:
    """Tell whether a file of rows is Parquet, else JSON Lines, by its ending.

    Raises:
        ValueError: It is neither.
    """
    name = path.name.lower()
    if name.endswith(".parquet"):
        return True
    if name.removesuffix(".gz").endswith((".jsonl", ".ndjson")):
        return False
    raise ValueError(f"A file of rows must end in .jsonl or .parquet, but got {path}.")


def refuse_other_rows(out: Path, names: Sequence[str], num_rows: int | None = None) -> None:
    """Refuse to write over a file unless it has these columns alone, and as many rows if given.

    Raises:
        ValueError: It is another file, or a folder.
    """
    if not out.exists() or (out.is_file() and out.stat().st_size == 0):
        return
    found: list[str] = []
    num_found = 0
    with suppress(ValueError, OSError, RowFault):
        found, num_found = columns_and_rows(out)
    if set(found) == set(names) and num_rows in (None, num_found):
        return
    if set(found) == set(names):
        why = f"has {num_found:,} rows, not the {num_rows:,} of the file that is read"
    else:
        why = f"has no rows with just {', '.join(names)}"
    raise ValueError(
        f"{out} is there and {why}, so it is not written over. Choose another --out, or move it "
        "away."
    )


def columns_and_rows(path: Path) -> tuple[list[str], int]:
    """Return the columns of a file, of JSON Lines those of the first row, and its rows' number.

    Raises:
        ValueError: It is damaged.
    """
    if is_parquet_file(path):
        try:
            held = pq.read_metadata(path)
        except pa.ArrowException as error:
            raise ValueError(f"{path} must be a whole Parquet file, but: {error}.") from error
        return list(held.schema.to_arrow_schema().names), held.num_rows
    _, row = next(read_jsonl(path, BadRows("stop")), (0, {}))
    return list(row), sum(1 for _, _, line in read_lines(path) if line.strip())
