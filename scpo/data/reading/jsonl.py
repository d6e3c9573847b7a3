r"""JSON Lines and JSON arrays: a path comes in (perhaps .gz), numbered objects go out.

A line that is not UTF-8, not one JSON object, or cut off at the end of the file is handed to the
collector of bad rows, with its byte offset where that helps. Only `\n` separates lines, so
U+2028 inside a text does no harm.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from scpo.data.reading.bad_rows import BadRows, RowFault
from scpo.data.reading.lines import (
    BYTE_ORDER_MARK,
    MAX_LINE_BYTES,
    decode_line,
    read_lines,
    read_text,
)
from scpo.text.json_text import MAX_BRACKETS, load_json, refuse_deep

_SPACE = re.compile(r"[ \t\r\n]*")


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
        ValueError: Neither of them; or a bad row under the policy "stop".
    """
    chunks = read_text(path)
    text = next((chunk for chunk in chunks if not chunk.isspace()), "")
    if not text.lstrip().startswith("["):
        yield from read_jsonl(path, bad_rows)
        return
    number = 0
    try:
        for number, row in enumerate(_read_elements(text, chunks), start=1):
            bad_rows.num_rows_read += 1
            if isinstance(row, dict):
                yield number, row
            else:
                bad_rows.reject(_no_object(row), path, number, row)
    except _ArrayError as error:
        raise ValueError(
            f"{path} must be a JSON array of objects, but after {number} of them: {error}."
        ) from error


class _ArrayError(Exception):
    """Why no more elements can be read."""


def _read_elements(text: str, chunks: Iterator[str]) -> Iterator[Any]:
    """Yield the elements of an array that begins with `text`; a few chunks are in memory."""
    decoder = json.JSONDecoder(object_pairs_hook=_make_object)
    text, start, after = text.lstrip(), 1, "["
    while after != "]":
        try:
            begin = _skip_space(text, start)
            if after == "[" and text[begin] == "]":
                start = begin + 1
                break
            element, end = decoder.raw_decode(text, begin)
            end = _skip_space(text, end)
            if text[end] not in ",]":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, end)
            refuse_deep(element)
        except (json.JSONDecodeError, IndexError) as error:  # it may go on in the next chunk
            more = "".join(islice(chunks, 1 + (len(text) >> 20)))
            text, start = text[start:] + more, 0
            if not more or len(text) > 2 * MAX_LINE_BYTES:
                raise _ArrayError(getattr(error, "msg", "it stops in the middle")) from error
            if text.count("{") + text.count("[") > MAX_BRACKETS:
                raise _ArrayError(f"over {MAX_BRACKETS:,} lists and objects in one") from error
        except (ValueError, RecursionError) as error:
            raise _ArrayError(error) from error
        else:
            yield element
            after, start = text[end], end + 1
    if any(rest.strip() for rest in chain([text[start:]], chunks)):
        raise _ArrayError("Extra data")


def _skip_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return start if found is None else found.end()


def _parse_line(content: bytes, offset: int) -> dict[str, Any]:
    if b"\0" in content:
        raise RowFault(
            "nul_character",
            f"Text must hold, got a NUL at byte offset {offset + content.index(0)} of the file.",
        )
    is_cut = not content.endswith(b"\n")  # only the last line of a file can be
    try:
        row = load_json(decode_line(content, offset), _make_object)
    except RowFault as fault:
        if is_cut and not content.rstrip().endswith(b"}"):
            raise RowFault("torn_line", f"A whole line must hold. {fault.message}") from fault
        raise
    except ValueError as error:
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
