r"""JSON Lines, read as bytes: a path comes in (.jsonl or .jsonl.gz), numbered objects go out.

A line that is not UTF-8, not one JSON object, or cut off at the end of the file is handed to the
collector of bad rows, with its byte offset where that helps. Only `\n` separates lines, so
U+2028 inside a text does no harm.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scpo.data.reading.bad_rows import BadRows, RowFault

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_jsonl(path: Path, bad_rows: BadRows) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for every good line; lines are numbered from 1.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A damaged gzip stream; or a bad line under the policy "stop".
    """
    for line, offset, content in read_lines(path):
        if content.startswith(BYTE_ORDER_MARK):
            content = content.removeprefix(BYTE_ORDER_MARK)
            offset += len(BYTE_ORDER_MARK)
            bad_rows.note("byte_order_mark")
        if not content.strip():
            bad_rows.note("blank_line")
            continue
        bad_rows.num_rows_read += 1
        try:
            row = _parse_line(content, offset)
        except RowFault as fault:
            bad_rows.reject(fault, path, line, content)
        else:
            yield line, row


def read_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield (line number, byte offset, bytes with line end) of a file; `.gz` is unpacked.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The gzip stream is damaged or ends early: rows after it would be lost.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No file at {path}.")
    offset, line = 0, 0
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as handle:
        try:
            for content in handle:
                line += 1
                yield line, offset, content
                offset += len(content)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{path}:{line + 1}: the gzip stream is damaged ({error}). Fetch the file again."
            ) from error


def decode_line(content: bytes, offset: int) -> str:
    """Return a line's text; `offset` is where the line starts in the file.

    Raises:
        RowFault: Bytes that are not UTF-8, with the offset of the first.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowFault(
            "not_utf8",
            f"UTF-8 must hold, got byte 0x{content[error.start]:02x} at byte offset "
            f"{offset + error.start} of the file ({error.reason}).",
        ) from error


def _parse_line(content: bytes, offset: int) -> dict[str, Any]:
    if b"\0" in content:
        raise RowFault(
            "nul_character",
            f"Text must hold, got a NUL at byte offset {offset + content.index(0)} of the file.",
        )
    is_cut = not content.endswith(b"\n")  # only the last line of a file can be
    try:
        row = json.loads(decode_line(content, offset), object_pairs_hook=_make_object)
    except RowFault as fault:
        if is_cut and not content.rstrip().endswith(b"}"):
            raise RowFault("torn_line", f"A whole line must hold. {fault.message}") from fault
        raise
    except (ValueError, RecursionError) as error:
        is_torn = is_cut and isinstance(error, json.JSONDecodeError)
        raise RowFault(
            "torn_line" if is_torn else "invalid_json", f"One JSON object must hold: {error}."
        ) from error
    if not isinstance(row, dict):
        message = f"One JSON object must hold, got a {type(row).__name__} instead."
        raise RowFault("invalid_json", message)
    return row


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a dict of `pairs`, refusing a key that comes twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} comes twice")
    return made
