"""CSV and Parquet files: a path comes in, numbered rows as dicts go out.

A row that cannot be read (bytes that are not UTF-8, broken quotes, a wrong number of fields) is
handed to the collector of bad rows; a file that cannot be read at all raises ValueError.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scpo.data.reading.bad_rows import BadRows, RowFault
from scpo.data.reading.lines import (
    BYTE_ORDER_MARK,
    MAX_LINE_BYTES,
    MAX_RATIO,
    decode_line,
    read_lines,
)
from scpo.text.progress import ProgressLines

_MAX_NAMES, _MAX_NAME = 40, 80  # shown in a message; characters of each
_BATCH_ROWS = 64  # a text of a few bytes in the file may stand in each row
_FREE_BYTES = 1 << 26  # unpacked without a look at the ratio


def read_csv(path: Path, bad_rows: BadRows) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line where the record starts, fields by column name); line 1 is the header.

    Raises:
        FileNotFoundError: No such file.
        ValueError: An unreadable header; or a bad record under the policy "stop".
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    current = _CsvRecord()
    lines = _decode_lines(path, current, bad_rows)
    first, skipped = next(lines, ""), 0
    delimiter = _find_delimiter(first)
    if told := re.fullmatch(r"sep=(.)\s*", first):  # what Excel writes before the header
        delimiter, first, skipped = told[1], next(lines, ""), 1
    reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
    header = _read_header(reader, current, path)
    shown = show_names(header)
    while True:
        start = skipped + reader.line_num + 1
        current.faults, current.lines, current.num_chars = [], [], 0
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            _refuse_broken(current.lines, _in_words(error), path, start, bad_rows)
            continue
        if record and len(record) != len(header):
            message = f"{len(header)} fields must hold ({shown}), got {len(record)}."
            current.faults.append(RowFault("invalid_csv", message))
        if current.faults:
            bad_rows.num_rows_read += 1
            bad_rows.reject(current.faults[0], path, start, "".join(current.lines))
        elif not record:
            bad_rows.note("blank_line")
        elif record == header:
            bad_rows.note("repeated_header")
        else:
            bad_rows.num_rows_read += 1
            yield start, dict(zip(header, record, strict=True))


def read_parquet(
    path: Path, columns: Sequence[str], bad_rows: BadRows
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number from 1, values by column name) of those `columns` that the file has.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a Parquet file, a damaged one, or one that unpacks to more than
            `MAX_RATIO` times its size; or a bad row under the policy "stop".
    """
    line = 0
    for batch in read_batches(path, columns):
        present = batch.schema.names
        for number in range(len(batch)):  # where none of the columns is there too
            scalars = [column[number] for column in batch.columns]
            line += 1
            bad_rows.num_rows_read += 1
            try:
                values = [scalar.as_py() for scalar in scalars]
            except UnicodeDecodeError as error:
                message = f"UTF-8 must hold, got {error.object[:40]!r}: {error.reason}."
                bad_rows.reject(RowFault("not_utf8", message), path, line, error.object)
            except (ValueError, OverflowError) as error:  # a date of the year 300,000
                kinds = {name: str(each.type) for name, each in zip(present, scalars, strict=True)}
                message = f"A value that Python has must stand here, but: {error}."
                bad_rows.reject(RowFault("wrong_type", message), path, line, kinds)
            else:
                yield line, dict(zip(present, values, strict=True))


def read_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield a Parquet file's rows, a few at a time; all columns, or those named that it has.

    Raises:
        FileNotFoundError, ValueError: As of `read_parquet`, for the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No file at {path}.")
    most = _FREE_BYTES + MAX_RATIO * path.stat().st_size
    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        present = names if columns is None else [name for name in columns if name in names]
        groups = range(file.num_row_groups)
        size = sum(file.metadata.row_group(number).total_byte_size for number in groups)
        _refuse_bomb(size, most, path)
        size, progress = 0, ProgressLines(f"reading {path.name}", file.metadata.num_rows)
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=present):
            size += sum(map(_unpacked_bytes, batch.columns))
            _refuse_bomb(size, most, path)
            yield batch
            progress.add(len(batch))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} must be a whole Parquet file, but: {error}.") from error


def _unpacked_bytes(column: pa.Array) -> int:
    """Return the bytes of a column's values, each of those that stand once for many rows."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    values = column.dictionary
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return len(column) * int(values.nbytes)
    lengths = pc.binary_length(values).take(column.indices)
    return int(pc.sum(lengths).as_py() or 0)


def _refuse_bomb(size: int, most: int, path: Path) -> None:
    if size > most:
        raise ValueError(
            f"{path} unpacks to over {MAX_RATIO} times its size, as no file of texts does. If it "
            "is sound, store it as .jsonl."
        )


@dataclass
class _CsvRecord:
    """The record being read: the faults of its bytes, and its lines in the file."""

    faults: list[RowFault] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    num_chars: int = 0


def _decode_lines(path: Path, record: _CsvRecord, bad_rows: BadRows) -> Iterator[str]:
    """Yield lines for csv.reader and add them to the record; undecodable bytes are escaped.

    Raises:
        ValueError: The record is longer than `MAX_LINE_BYTES`.
    """
    for line, offset, content in read_lines(path):
        start = 0
        if line == 1 and content.startswith(BYTE_ORDER_MARK):
            start = len(BYTE_ORDER_MARK)
            bad_rows.note("byte_order_mark")
        try:
            text = decode_line(content[start:], offset + start)
        except RowFault as fault:
            record.faults.append(fault)
            text = content[start:].decode("utf-8", errors="backslashreplace")
        record.lines.append(text)
        record.num_chars += len(text)
        if record.num_chars > MAX_LINE_BYTES:
            raise ValueError(
                f"{path}:{line - len(record.lines) + 1}: a CSV record is longer than "
                f"{MAX_LINE_BYTES >> 20} MiB: a quote opened there is not closed. Close it."
            )
        yield text


def _find_delimiter(header: str) -> str:
    """Return what separates most fields of a header: comma, semicolon, tab or bar."""
    outside = re.sub('"[^"]*"', "", header)
    return max(",;\t|", key=outside.count)


def _refuse_broken(
    lines: list[str], error: str, path: Path, start: int, bad_rows: BadRows
) -> None:
    """Refuse every line of a record with broken quotes: an open quote swallows the rows after it.

    Which of them are rows of their own, nobody can tell.
    """
    runs = f" A quote opened in it runs on for {len(lines)} lines." if len(lines) > 1 else ""
    fault = RowFault("invalid_csv", f"One CSV record must hold: {error}.{runs}")
    for number, text in enumerate(lines):
        bad_rows.num_rows_read += 1
        bad_rows.reject(fault, path, start + number, text)
        fault = RowFault(
            "invalid_csv", f"Swallowed by an open quote of the record at line {start}."
        )


def _in_words(error: csv.Error) -> str:
    """Return what csv says; of line ends it advises what only a Python program could do."""
    if "new-line character" in str(error):
        return (
            "a carriage return (CR) stands outside of quotes, and other lines end otherwise. Make "
            "the line ends alike: tr '\\r' '\\n' < FILE > NEW"
        )
    return str(error)


def column_names(path: Path) -> list[str]:
    """Return the names of a Parquet file's columns, and what is nested in them as "meta.user"."""
    schema = pq.read_schema(path)
    return [
        f"{column.name}.{inner.name}" if inner is not None else column.name
        for column in schema
        for inner in (column.type if pa.types.is_struct(column.type) else [None])
    ]


def show_names(names: Sequence[str]) -> str:
    """Return names of columns as a message shows them: the first of very many."""
    shown = str([name[:_MAX_NAME] for name in names[:_MAX_NAMES]])
    more = len(names) - _MAX_NAMES
    return f"{shown} and {more:,} more" if more > 0 else shown


def _read_header(reader: Iterator[list[str]], first: _CsvRecord, path: Path) -> list[str]:
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise ValueError(
            f"{path}:1: a CSV header must stand here, but: {_in_words(error)}."
        ) from error
    if first.faults:
        raise ValueError(f"{path}:1: {first.faults[0].message}")
    if len(set(header)) != len(header):
        raise ValueError(f"{path}:1: column names must be unique, but got {show_names(header)}.")
    return header
