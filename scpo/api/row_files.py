"""Rows of a file through a function, in parts, so that an interrupted run goes on.

In goes a file of JSON Lines or Parquet; out comes one of the same kind with further columns, whole
or absent. Finished parts lie beside it, in a folder that is keyed by what they are made of: other
input or another model starts anew. A part's name carries the hash of its bytes: a damaged one is
made again. It carries a count of the work too, so that a run that goes on can tell the whole.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from scpo.api.row_outputs import columns_and_rows, is_parquet_file, refuse_other_rows
from scpo.data.reading.bad_rows import BadRows
from scpo.data.reading.jsonl import read_jsonl
from scpo.data.reading.tabular import read_batches
from scpo.files.atomic import atomic_path, hash_file, hash_values, write_json
from scpo.files.output_folder import one_writer

ROWS_OF_PART = 1024
_TELL_S = 5.0  # between two lines of progress
_KEY_FILE = "key.json"

FileRow: TypeAlias = dict[str, Any]
Work: TypeAlias = Callable[[Sequence[tuple[int, FileRow]]], Mapping[str, list[Any]]]
Columns: TypeAlias = Mapping[str, pa.DataType]


class Written(NamedTuple):
    """Rows of a file, and the sum of what was counted in the work."""

    rows: int
    counted: int


def transform_file(
    source: Path,
    out: Path,
    work: Work,
    *,
    columns: Sequence[str],
    adds: Columns,
    key: Mapping[str, Any],
    counted: Callable[[], int],
    say: Callable[[str], None],
) -> Written:
    """Write a file with the columns that `work` adds, and return its number of rows.

    Args:
        source: A file that ends in .jsonl (also .gz) or .parquet.
        out: The file to write, of the same kind.
        work: Given numbered rows, returns the new columns, a value a row.
        columns: What `work` reads; of a Parquet file no others become Python values.
        adds: The new columns and their types in Parquet.
        key: Plain values that, with the source, shape the result. `rows_of_part`, else
            `ROWS_OF_PART`, are worked on at once, and kept when the run is interrupted.
        counted: A counter that `work` may raise; the sum is over parts of earlier runs too.
        say: Called with a line of progress every few seconds.

    Raises:
        FileNotFoundError: No such source.
        ValueError: The kinds differ or are others, the two are one file, a line is no JSON
            object, the source has a column that is to be added, or `out` holds something else
            than such rows of as many as the source, or is being written by another process.
    """
    is_parquet = is_parquet_file(source)
    if is_parquet_file(out) != is_parquet or out.suffix.lower() == ".gz":
        raise ValueError(
            f"{out} must be of the kind of {source}: .jsonl for .jsonl, .parquet for .parquet."
        )
    if not source.is_file():
        raise FileNotFoundError(f"No file at {source}.")
    if out.resolve() == source.resolve():
        raise ValueError(f"{out} is the file that is read. Choose another output.")
    if out.exists():
        names, num_rows = columns_and_rows(source)
        refuse_other_rows(out, [*names, *adds], num_rows)
    whole_key = {"rows_of_part": ROWS_OF_PART, **key, "source": hash_file(source)}
    with one_writer(out.with_name(f".{out.name}.lock"), out):
        write = partial(_write_part, work, columns, adds)
        return _transform(source, out, write, adds, whole_key, counted, say)


def _transform(
    source: Path,
    out: Path,
    write: Callable[[Any, int, Path], None],
    adds: Columns,
    key: Mapping[str, Any],
    counted: Callable[[], int],
    say: Callable[[str], None],
) -> Written:
    """Write the parts that are missing, and join all of them; `write` makes one, from a row on."""
    parts = _open_parts(out, key)
    is_parquet, rows_of_part = is_parquet_file(source), key["rows_of_part"]
    started_s = told_s = time.monotonic()
    num_rows, num_new, files = 0, 0, []
    total = 0
    chunks = _parquet_chunks if is_parquet else _json_chunks
    for number, chunk in enumerate(chunks(source, rows_of_part)):
        file = _find_part(parts, number)
        if file is None:
            before = counted()
            with atomic_path(parts / "new") as temporary:
                write(chunk, num_rows + 1, temporary)
            new = parts / "new"
            name = f"{number:08d}-{counted() - before}-{hash_file(new)[:16]}"
            file = new.rename(parts / name)
            num_new += len(chunk)
        total += int(file.name.split("-")[1])
        num_rows += len(chunk)
        files.append(file)
        if time.monotonic() - told_s > _TELL_S:
            told_s = time.monotonic()
            speed = num_new / (told_s - started_s)
            say(f"{num_rows:,} rows, {speed:,.0f} rows/s")
    with atomic_path(out) as temporary:
        if is_parquet:
            _join_parquet(files, source, adds, temporary)
        else:
            _join_json(files, temporary)
    _remove_parts(parts)
    return Written(num_rows, total)


def _open_parts(out: Path, key: Mapping[str, Any]) -> Path:
    """Return the folder of finished parts, emptied where they are of something else.

    Raises:
        ValueError: It holds files, and was not made for parts.
    """
    parts = out.with_name(f".{out.name}.parts")
    held = parts / _KEY_FILE
    wanted = hash_values(key)
    held_names = [file.name for file in parts.iterdir()] if parts.is_dir() else []
    if _KEY_FILE not in held_names and any(not name.endswith(".tmp") for name in held_names):
        raise ValueError(f"{parts} is for unfinished rows, but holds other files. Move it away.")
    if parts.is_dir() and not (held.is_file() and wanted in held.read_text(encoding="utf-8")):
        _remove_parts(parts)
    parts.mkdir(parents=True, exist_ok=True)
    if not held.is_file():
        write_json(held, {"made_from": wanted})
    return parts


def _remove_parts(parts: Path) -> None:
    """Remove the folder of parts; what says that it is one goes last, should this be killed."""
    for file in parts.iterdir():
        if file.name != _KEY_FILE:
            file.unlink()
    shutil.rmtree(parts)


def _find_part(parts: Path, number: int) -> Path | None:
    """Return the finished part of a number, None where there is none with the bytes written."""
    for file in parts.glob(f"{number:08d}-*-*"):
        if file.name.endswith(hash_file(file)[:16]):
            return file
        file.unlink()
    return None


def _json_chunks(source: Path, size: int) -> Iterator[list[tuple[int, FileRow]]]:
    rows = read_jsonl(source, BadRows("stop"))
    while chunk := list(islice(rows, size)):
        yield chunk


def _parquet_chunks(source: Path, size: int) -> Iterator[pa.Table]:
    batches: list[pa.RecordBatch] = []
    for batch in read_batches(source):
        batches.append(batch)
        if sum(map(len, batches)) >= size:
            yield pa.Table.from_batches(batches)
            batches = []
    if batches:
        yield pa.Table.from_batches(batches)


def _encode_row(row: FileRow) -> bytes:
    """Return a row as JSON in UTF-8; half of a surrogate pair stays as it was escaped."""
    try:
        return json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(row).encode("ascii")


def _write_part(
    work: Work, columns: Sequence[str], adds: Columns, chunk: Any, first_row: int, file: Path
) -> None:
    """Write a chunk with its new columns; rows of Parquet count from `first_row`."""
    if not isinstance(chunk, pa.Table):
        added = _new_columns(work(chunk), {name for _, row in chunk for name in row})
        with file.open("wb") as handle:
            for number, (_, row) in enumerate(chunk):
                more = {name: values[number] for name, values in added.items()}
                handle.write(_encode_row({**row, **more}) + b"\n")
        return
    present = [name for name in columns if name in chunk.schema.names]
    try:
        rows = list(enumerate(chunk.select(present).to_pylist(), start=first_row))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{' and '.join(present)} must hold texts, but: {error}.") from error
    for name, values in _new_columns(work(rows), set(chunk.schema.names)).items():
        chunk = chunk.append_column(name, pa.array(values, adds[name]))
    pq.write_table(chunk, file)


def _new_columns(added: Mapping[str, list[Any]], present: set[str]) -> Mapping[str, list[Any]]:
    if both := sorted(set(added) & present):
        raise ValueError(
            f"The file has a column {both[0]!r} already, which would be lost. Name the new one "
            "otherwise."
        )
    return added


def _join_json(files: Sequence[Path], out: Path) -> None:
    with out.open("wb") as handle:
        for file in files:
            with file.open("rb") as part:
                shutil.copyfileobj(part, handle)


def _join_parquet(files: Sequence[Path], source: Path, adds: Columns, out: Path) -> None:
    if files:
        schema = pq.read_schema(files[0])
    else:
        schema = pq.read_schema(source)
        _new_columns({name: [] for name in adds}, set(schema.names))
        for name, kind in adds.items():
            schema = schema.append(pa.field(name, kind))
    with pq.ParquetWriter(out, schema) as writer:
        for file in files:
            writer.write_table(pq.read_table(file).cast(schema))
