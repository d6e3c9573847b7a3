r"""JSON Lines and JSON arrays: a path comes in (perhaps .gz), numbered objects go out.

A line that is not UTF-8, not one JSON object, or cut off at the end of the file is handed to the
collector of bad rows, with its byte offset where that helps. Only `\n` separates lines, so
U+2028 inside a text does no harm.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scpo.data.reading.bad_rows import BadRows, RowFault
from scpo.data.reading.lines import BYTE_ORDER_MARK, decode_line, read_lines, read_text

MAX_JSON_BYTES = 1 << 29  # of an array, which is read whole


def read_jsonl(path: Path, bad_rows: BadRows) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for every good line; lines are numbered from 1.

    Raises:
        FileNotFoundError: No such file.
        ValueError: As of `read_lines`; or a bad line under the policy "stop".
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


def read_json(path: Path, bad_rows: BadRows) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number from 1, object) of a JSON array; a file with an object a line is read as such.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Neither of them, or larger than `MAX_JSON_BYTES`; or a bad row under "stop".
    """
    text = read_text(path, MAX_JSON_BYTES)
    if not text.lstrip().startswith("["):
        yield from read_jsonl(path, bad_rows)
        return
    try:
        rows = json.loads(text, object_pairs_hook=_make_object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be a JSON array of objects, but: {error}.") from error
    for number, row in enumerate(rows, start=1):
        bad_rows.num_rows_read += 1
        if isinstance(row, dict):
            yield number, row
        else:
            bad_rows.reject(_no_object(row), path, number, row)


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
        raise _no_object(row)
    return row


def _no_object(row: object) -> RowFault:
    hint = " An array of rows belongs into a .json file." if isinstance(row, list) else ""
    message = f"One JSON object must hold, got a {type(row).__name__} instead.{hint}"
    return RowFault("invalid_json", message)


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a dict of `pairs`, refusing a key that comes twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice!r} comes twice")
    return made
