"""JSON of strangers within bounds: a small text may stand for very many values, or deep ones."""

import json
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 64
MAX_BRACKETS = 1 << 20  # of one text: an empty list takes 2 characters and some 64 bytes

PairsHook = Callable[[list[tuple[str, Any]]], Any]


def load_json(text: str | bytes, pairs_hook: PairsHook | None = None) -> Any:
    """Return what a JSON text holds; bytes are UTF-8.

    Raises:
        ValueError: It is no JSON, or beyond the bounds.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    num_brackets = text.count("{") + text.count("[")
    if num_brackets > MAX_BRACKETS:
        raise ValueError(f"over {MAX_BRACKETS:,} lists and objects")
    try:
        value = json.loads(text, object_pairs_hook=pairs_hook)
    except RecursionError:
        raise _too_deep() from None
    if num_brackets > MAX_DEPTH:
        refuse_deep(value)
    return value


def refuse_deep(value: Any) -> None:
    """Refuse lists and objects nested deeper than `MAX_DEPTH`: what walks them would not end well.

    Raises:
        ValueError: They are.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = [item for item in level if isinstance(item, dict | list)]
        if not inner:
            return
        level = [
            each for item in inner for each in (item.values() if isinstance(item, dict) else item)
        ]
    raise _too_deep()


def _too_deep() -> ValueError:
    return ValueError(f"lists and objects nested over {MAX_DEPTH} deep")
