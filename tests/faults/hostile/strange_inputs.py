"""Inputs that a reader must outlive: valid ones with bytes or values changed, by hypothesis."""

import copy
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

LONG = 100_000  # characters of a long text
PIECES = (
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\n", b"\r\n", b"\x1a", b"\x1b[31m"),
    *(b'"', b"'", b",", b";", b"\t", b"{", b"}", b"[", b"]", b":", b"\\", b"\\ud800", b"\\u0000"),
    *(b"NaN", b"Infinity", b"-1e999", b"1e400", b"null", b"true", b"9" * 400, b"9" * 6000),
    *(b"0x" + b"f" * 6000, b"[" * 70, b"[" * 5000, b'{"a":' * 70, b"{}", b"-", b"%s", b"${HOME}"),
    *(b"{{ 1 }}", b"{% for", b"<s>", b"<|im_start|>", b"\n\nHuman: ", b"!!python/name:os.system "),
    *("\u202e\u0000\ufffd".encode(), "é中".encode(), b"../", b"/dev/zero", b"s3://a:b@c/d"),
    *(b"x" * LONG, b" " * LONG, b"\n" * LONG, b"a." * LONG, b"(" * LONG, b"\\u0020" * LONG),
)
VALUES = (
    *(None, True, False, 0, -1, 1.5, 2**31, 2**53 + 1, 2**63, 2**64, 10**400, -(10**400)),
    *(float("nan"), float("inf"), float("-inf"), 1e308, 5e-324, -0.0, 1e5),
    *("", " ", "\0", "\ud800", "\ufffd", "\u202e", "nan", "None", "1e999", "9" * 6000, "0x1f"),
    *("é", "e\u0301", "\r", "\x1b[31m", "..", "/dev/zero", "CON", "a" * 256, "[]", "{'a': [1]}"),
    *("[" * 90, "\n\nHuman: a", "\n\nAssistant: b", "<|im_start|>user", "[{'role': 'user'"),
    *(
        " " * LONG + "x",
        "\n" * LONG + "x",
        "x" * LONG,
        "a." * LONG,
        "s3://" * 9000,
        "\u00a0" * LONG,
    ),
    *([], {}, [[]], [None], [{}], {"": ""}, {"role": "user", "content": "a"}, ["a", "b"]),
    *([1, 2, 3], {"a": {"b": {"c": [1]}}}, [0] * 5000, {str(n): n for n in range(3000)}),
    *([{"role": "tool", "content": None}], {"type": "image", "text": 3}, b"\xff\x00"),
)
DEEP = 70  # levels: over what any file needs, under what Python can walk


@st.composite
def changed_bytes(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """A valid content with pieces put in, taken out, doubled or flipped."""
    content = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 40)))
        how = draw(st.sampled_from(("put", "replace", "drop", "double", "flip", "cut", "random")))
        if how in ("put", "replace"):
            piece = draw(st.sampled_from(PIECES))
            content = content[:start] + piece + content[start if how == "put" else end :]
        elif how == "drop":
            content = content[:start] + content[end:]
        elif how == "double":
            content = content[:end] + content[start:]
        elif how == "flip" and start < len(content):
            flipped = content[start] ^ (1 << draw(st.integers(0, 7)))
            content = content[:start] + bytes([flipped]) + content[start + 1 :]
        elif how == "cut":
            content = content[:start]
        else:
            content = content[:start] + draw(st.binary(max_size=20)) + content[end:]
    return content


@st.composite
def changed_value(draw: st.DrawFn, seeds: Sequence[Any]) -> Any:
    """A valid value in which values are replaced, keys dropped, renamed or added."""
    value = copy.deepcopy(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(value))
        if not places:
            return draw(st.sampled_from(VALUES))
        holder, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(("value", "value", "value", "drop", "rename", "add", "deep")))
        if how == "value":
            holder[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        elif how == "drop":
            del holder[key]
        elif how == "deep":
            holder[key] = _nested(holder[key], draw(st.sampled_from(("list", "dict"))))
        elif isinstance(holder, dict):
            name = draw(st.sampled_from((*TEXTS, *map(str, holder))))
            holder[name] = holder.pop(key) if how == "rename" else copy.deepcopy(holder[key])
        else:
            holder.insert(key, copy.deepcopy(holder[key]))
    return value


@st.composite
def as_json(draw: st.DrawFn, values: st.SearchStrategy[Any], *, lines: bool) -> bytes:
    """Values as JSON: a line each, or one text; keys may stand twice, surrogates be raw."""
    drawn = draw(values)
    escape = draw(st.booleans())
    rows = drawn if lines and isinstance(drawn, list) else [drawn]
    texts = [json.dumps(row, ensure_ascii=escape, default=repr) for row in rows]
    if draw(st.integers(0, 9)) == 0:
        number = draw(st.integers(0, len(texts) - 1)) if texts else 0
        texts[number : number + 1] = [
            twice.replace("{", '{"a": 1, "a": 2, ', 1) for twice in texts
        ]
    text = "\n".join(texts) + "\n" * draw(st.integers(0, 1))
    return text.encode("utf-8", "surrogatepass")


TEXTS = tuple(value for value in VALUES if isinstance(value, str))


def _places(value: Any) -> Any:
    """Yield each holder and key within a value."""
    keys = value if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _nested(value: Any, kind: str) -> Any:
    for _ in range(DEEP):
        value = [value] if kind == "list" else {"a": value}
    return value
