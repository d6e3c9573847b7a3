"""YAML with the line of every value; what people write by mistake is refused by line.

Of YAML 1.1 only what cannot surprise is kept: `NO`, `on`, `2001-01-01`, `010` and `1:30` stay
texts (a field that wants a truth value or a number reads them itself). Keys given twice, keys
that are no text, anchors within themselves and aliases that grow beyond measure are refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]  # keys and indices from the top

_MAX_BYTES = 2**18  # what pure Python parses in a second or two
_MAX_VALUES = 20_000
_LARGEST = 2**63 - 1
_TAG = "tag:yaml.org,2002:"
_KEPT = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F_]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*)?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?[0-9][0-9_]*\.(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("merge", r"<<", "<"),
)


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for kind, pattern, firsts in _KEPT:
        for first in firsts.replace("\0", ""):
            found.setdefault(first, []).append((_TAG + kind, re.compile(f"^(?:{pattern})$")))
    found[""] = [(_TAG + "null", re.compile("^$"))]
    return found


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _resolvers()


@dataclass(frozen=True)
class YamlValue:
    """A document as plain values, and the place of each in words ("line 3")."""

    value: Any
    places: dict[KeyPath, str]


def read_yaml(path: Path) -> YamlValue:
    """Read a file of one document.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It holds several documents, or as of `read_documents`.
    """
    documents = read_documents(path)
    if len(documents) > 1:
        raise ValueError(f"{path} must hold one YAML document, but holds {len(documents)}.")
    return documents[0] if documents else YamlValue(None, {})


def read_documents(path: Path) -> list[YamlValue]:
    """Return the documents of a file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is larger than 256 KiB or no YAML, or see `parse_yaml`; the message names
            file and line.
    """
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{path} must be a small YAML file, but is larger than 256 KiB.")
    return parse_yaml(content, str(path))


def parse_yaml(content: bytes | str, origin: str) -> list[YamlValue]:
    """Return the documents of a text; `origin` names it in messages.

    Raises:
        ValueError: It is no YAML; a key is given twice or is no text; values are within
            themselves, nested too deep, or more than 20,000; a text is none of a file's name.
    """
    try:
        loader = _Loader(content)
        return [_document(loader, node, origin) for node in _nodes(loader)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        tabs = " Indent with spaces, not with tabs." if "'\\t'" in str(error.problem) else ""
        raise ValueError(
            f"{origin}{where} is not readable YAML: {error.problem or error.context}.{tabs}"
        ) from error
    except yaml.reader.ReaderError as error:
        raise ValueError(
            f"{origin} is not readable YAML: {error.reason} at position {error.position}. Write "
            "it as UTF-8 text."
        ) from error
    except RecursionError as error:
        raise ValueError(f"{origin} is not readable YAML: it is nested too deep.") from error


def _nodes(loader: _Loader) -> Iterator[yaml.Node]:
    while loader.check_node():
        node = loader.get_node()
        if node is not None:
            yield node


def _document(loader: _Loader, node: yaml.Node, origin: str) -> YamlValue:
    _measure(loader, node, origin, {})
    places: dict[KeyPath, str] = {}
    return YamlValue(_build(loader, node, origin, (), places), places)


def _measure(loader: _Loader, node: yaml.Node, origin: str, sizes: dict[int, int | None]) -> int:
    """Return how many values a node stands for, aliases expanded; check it once."""
    known = sizes.get(id(node), 0)
    where = f"{origin}, line {node.start_mark.line + 1}"
    if known is None:
        raise ValueError(f"{where}: an anchor must not stand within itself.")
    if known:
        return known
    sizes[id(node)] = None
    size = 1
    if isinstance(node, yaml.MappingNode):
        _check_keys(loader, node, origin)
        size += sum(_measure(loader, value, origin, sizes) for _, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_measure(loader, value, origin, sizes) for value in node.value)
    if size > _MAX_VALUES:
        raise ValueError(f"{where}: more than {_MAX_VALUES:,} values, aliases written out.")
    sizes[id(node)] = size
    return size


def _check_keys(loader: _Loader, node: yaml.MappingNode, origin: str) -> None:
    lines: dict[str, int] = {}
    for key_node, _ in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag == f"{_TAG}merge":
            continue
        if key_node.tag != f"{_TAG}str":
            raise ValueError(f"{origin}, line {line}: a key must be text; put it in quotes.")
        key = key_node.value
        if key in lines:
            raise ValueError(
                f"{origin}, line {line}: the key {key!r} is given twice, first in line "
                f"{lines[key]}. Keep one."
            )
        lines[key] = line


def _build(
    loader: _Loader, node: yaml.Node, origin: str, place: KeyPath, places: dict[KeyPath, str]
) -> Any:
    words = f"line {node.start_mark.line + 1}"
    places[place] = words
    if node.tag == f"{_TAG}map" and isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)  # puts what `<<` names before the own keys
        return {
            key.value: _build(loader, value, origin, (*place, key.value), places)
            for key, value in node.value
        }
    if node.tag == f"{_TAG}seq" and isinstance(node, yaml.SequenceNode):
        return [
            _build(loader, value, origin, (*place, number), places)
            for number, value in enumerate(node.value)
        ]
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError(
            f"{origin}, {words} is not readable YAML: the tag {node.tag!r}. Remove it."
        )
    try:
        value = loader.construct_object(node)
        if isinstance(value, str):
            value.encode()  # which half a surrogate pair has not
            if "\0" in value:
                raise ValueError("a text must hold no NUL")
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise ValueError("a number must be smaller than 2 to the power of 63")
        return value
    except ValueError as error:
        raise ValueError(f"{origin}, {words}: {error}.") from error
