"""Rows of a file through a function, in parts, so that an interrupted run goes on.

In goes a file of JSON Lines or Parquet; out comes one of the same kind with further columns, whole
or absent. Finished parts lie beside it, in a folder that is keyed by what they are made of: other
input or another model starts anew. A part's name carries the hash of its bytes: a damaged one is
made again.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from scpo.data.reading.bad_rows import BadRows, RowFault
from scpo.data.reading.jsonl import read_jsonl
from scpo.data.reading.tabular import read_batches
from scpo.files.atomic import atomic_path, hash_file, hash_values, write_json
from scpo.files.output_folder import one_writer

ROWS_OF_PART = 1024
_TELL_S = 5.0  # between two lines of progress
_KEY_FILE = "key.json"

FileRow: TypeAlias = dict[str, Any]
Work: TypeAlias = Callable[[Sequence[tuple[int, FileRow]]], Mapping[str, list[Any]]]


def transform_file(
    source: Path,
    out: Path,
    work: Work,
    *,
    columns: Sequence[str],
    adds: Sequence[str],
    key: Mapping[str, Any],
    say: Callable[[str], None],
    rows_of_part: int = ROWS_OF_PART,
) -> int:
    """Write a file with the columns that `work` adds, and return its number of rows.

    Args:
        source: A file that ends in .jsonl (also .gz) or .parquet.
        out: The file to write, of the same kind.
        work: Given numbered rows, returns the new columns, a value a row.
        columns: What `work` reads; of a Parquet file no others become Python values.
        adds: Names of the new columns: a file that lacks them is not written over.
        key: Plain values that, with the source, shape the result.
        say: Called with a line of progress every few seconds.
        rows_of_part: Rows that are worked on at once, and kept when the run is interrupted.

    Raises:
        FileNotFoundError: No such source.
        ValueError: The kinds differ or are others, the two are one file, a line is no JSON
            object, the source has a column that is to be added, or `out` holds something else
            or is being written by another process.
    """
    is_parquet = _is_parquet(source)
    if _is_parquet(out) != is_parquet or out.suffix == ".gz":
        raise ValueError(
            f"{out} must be of the kind of {source}: .jsonl for .jsonl, .parquet for .parquet."
        )
    if not source.is_file():
        raise FileNotFoundError(f"No file at {source}.")
    if out.resolve() == source.resolve():
        raise ValueError(f"{out} is the file that is read. Choose another output.")
    refuse_other_rows(out, adds)
    whole_key = {**key, "source": hash_file(source), "rows_of_part": rows_of_part}
    with one_writer(out.with_name(f".{out.name}.lock"), out):
        return _transform(source, out, work, columns, whole_key, say)


def refuse_other_rows(out: Path, names: Sequence[str]) -> None:
    """Refuse to write over a file unless its rows have these columns, as those of before had.

    Raises:
        ValueError: It is another file, or a folder.
    """
    if not out.exists() or (out.is_file() and out.stat().st_size == 0):
        return
    found: Iterable[str] = ()
    with suppress(ValueError, OSError, RowFault):
        if _is_parquet(out):
            found = pq.read_schema(out).names
        elif out.is_file():
            _, row = next(read_jsonl(out, BadRows("stop")), (0, {}))
            found = row
    if not set(names) <= set(found):
        raise ValueError(
            f"{out} is there and has no rows with {', '.join(names)}, so it is not written over. "
            "Choose another --out, or move it away."
        )


def _transform(
    source: Path,
    out: Path,
    work: Work,
    columns: Sequence[str],
    key: Mapping[str, Any],
    say: Callable[[str], None],
) -> int:
    parts = _open_parts(out, key)
    is_parquet, rows_of_part = _is_parquet(source), key["rows_of_part"]
    started_s = told_s = time.monotonic()
    num_rows, num_new, files = 0, 0, []
    chunks = _parquet_chunks if is_parquet else _json_chunks
    for number, chunk in enumerate(chunks(source, rows_of_part)):
        file = _find_part(parts, number)
        if file is None:
            with atomic_path(parts / "new") as temporary:
                _write_part(chunk, work, columns, temporary)
            new = parts / "new"
            file = new.rename(parts / f"{number:08d}-{hash_file(new)[:16]}")
            num_new += len(chunk)
        num_rows += len(chunk)
        files.append(file)
        if time.monotonic() - told_s > _TELL_S:
            told_s = time.monotonic()
            speed = num_new / (told_s - started_s)
            say(f"{num_rows:,} rows, {speed:,.0f} rows/s")
    with atomic_path(out) as temporary:
        (_join_parquet if is_parquet else _join_json)(files, source, temporary)
    _remove_parts(parts)
    return num_rows


def _is_parquet(path: Path) -> bool:
    name = path.name.lower()
    if name.endswith(".parquet"):
        return True
    if name.removesuffix(".gz").endswith((".jsonl", ".ndjson")):
        return False
    raise ValueError(f"A file of rows must end in .jsonl or .parquet, but got {path}.")


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
    for file in parts.glob(f"{number:08d}-*"):
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


def _write_part(chunk: Any, work: Work, columns: Sequence[str], file: Path) -> None:
    """Write a chunk with its new columns."""
    if not isinstance(chunk, pa.Table):
        added = _new_columns(work(chunk), {name for _, row in chunk for name in row})
        with file.open("wb") as handle:
            for number, (_, row) in enumerate(chunk):
                more = {name: values[number] for name, values in added.items()}
                handle.write(_encode_row({**row, **more}) + b"\n")
        return
    present = [name for name in columns if name in chunk.schema.names]
    try:
        rows = list(enumerate(chunk.select(present).to_pylist(), start=1))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{' and '.join(present)} must hold texts, but: {error}.") from error
    for name, values in _new_columns(work(rows), set(chunk.schema.names)).items():
        chunk = chunk.append_column(name, pa.array(values))
    pq.write_table(chunk, file)


def _new_columns(added: Mapping[str, list[Any]], present: set[str]) -> Mapping[str, list[Any]]:
    if both := sorted(set(added) & present):
        raise ValueError(
            f"The file has a column {both[0]!r} already, which would be lost. Name the new one "
            "otherwise."
        )
    return added


def _join_json(files: Sequence[Path], source: Path, out: Path) -> None:
    with out.open("wb") as handle:
        for file in files:
            with file.open("rb") as part:
                shutil.copyfileobj(part, handle)


def _join_parquet(files: Sequence[Path], source: Path, out: Path) -> None:
    schema = pq.read_schema(files[0] if files else source)
    with pq.ParquetWriter(out, schema) as writer:
        for file in files:
            writer.write_table(pq.read_table(file).cast(schema))
