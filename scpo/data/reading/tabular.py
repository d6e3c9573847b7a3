"""CSV and Parquet files: a path comes in, numbered rows as dicts go out.

A row that cannot be read (bytes that are not UTF-8, broken quotes, a wrong number of fields) is
handed to the collector of bad rows; a file that cannot be read at all raises ValueError.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scpo.data.reading.bad_rows import BadRows, RowFault
from scpo.data.reading.jsonl import BYTE_ORDER_MARK, decode_line, read_lines


def read_csv(path: Path, bad_rows: BadRows) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line where the record starts, fields by column name); line 1 is the header.

    Raises:
        FileNotFoundError: No such file.
        ValueError: An unreadable header; or a bad record under the policy "stop".
    """
    current = _CsvRecord()
    reader = csv.reader(_decode_lines(path, current, bad_rows), strict=True)
    header = _read_header(reader, current, path)
    while True:
        start = reader.line_num + 1
        current.faults, current.text = [], ""
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            record = []
            current.faults.append(RowFault("invalid_csv", f"One CSV record must hold: {error}."))
        if record and len(record) != len(header):
            message = f"{len(header)} fields must hold ({header}), got {len(record)}."
            current.faults.append(RowFault("invalid_csv", message))
        if current.faults:
            bad_rows.num_rows_read += 1
            bad_rows.reject(current.faults[0], path, start, current.text)
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
        ValueError: Not a Parquet file, or a damaged one; or a bad row under the policy "stop".
    """
    if not path.is_file():
        raise FileNotFoundError(f"No file at {path}.")
    line = 0
    try:
        file = pq.ParquetFile(path)
        present = [name for name in columns if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=present):
            for scalars in zip(*batch.columns, strict=True):
                line += 1
                bad_rows.num_rows_read += 1
                try:
                    values = [scalar.as_py() for scalar in scalars]
                except UnicodeDecodeError as error:
                    message = f"UTF-8 must hold, got {error.object[:40]!r}: {error.reason}."
                    bad_rows.reject(RowFault("not_utf8", message), path, line, error.object)
                else:
                    yield line, dict(zip(present, values, strict=True))
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} must be a whole Parquet file, but: {error}.") from error


@dataclass
class _CsvRecord:
    """The record being read: the faults of its bytes, and its text in the file."""

    faults: list[RowFault] = field(default_factory=list)
    text: str = ""


def _decode_lines(path: Path, record: _CsvRecord, bad_rows: BadRows) -> Iterator[str]:
    """Yield lines for csv.reader and add them to the record; undecodable bytes are escaped."""
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
        record.text += text
        yield text


def _read_header(reader: Iterator[list[str]], first: _CsvRecord, path: Path) -> list[str]:
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise ValueError(f"{path}:1: a CSV header must stand here, but: {error}.") from error
    if first.faults:
        raise ValueError(f"{path}:1: {first.faults[0].message}")
    if len(set(header)) != len(header):
        raise ValueError(f"{path}:1: column names must be unique, but got {header}.")
    return header
