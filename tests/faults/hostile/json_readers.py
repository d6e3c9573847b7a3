"""Readers of JSON files, with inputs changed in bytes, in values, and in values with a sum."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from scpo.files.atomic import hash_values
from tests.faults.hostile.refusals import Reader
from tests.faults.hostile.strange_inputs import as_json, changed_bytes, changed_value


def json_file(
    name: str, file: str, seeds: list[Any], read: Callable[[Path], Any], **more: Any
) -> Reader:
    """Return a reader of a JSON file: its bytes are changed, or its values."""
    texts = [json.dumps(seed).encode() for seed in seeds]
    inputs = as_json(changed_value(seeds), lines=False) | changed_bytes(texts)
    return Reader(name, file, inputs, read, **more)


def with_sum(seeds: list[Any], key: str, digits: int) -> st.SearchStrategy[bytes]:
    """Return changed objects with a checksum that fits, as a stranger may make them."""

    def add(value: Any) -> Any:
        if isinstance(value, dict):
            value[key] = hash_values({k: v for k, v in value.items() if k != key})[:digits]
        return value

    def encode(value: Any) -> bytes:
        return json.dumps(value, default=repr).encode()

    return changed_value(seeds).filter(is_plain).map(add).map(encode)


def is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
