"""Settings as people give them: overrides, variables of the environment, places in words.

A configuration is written into its run and a command line into logs, so a secret in either is
refused before anything is written, and is not repeated.
"""

import os
import re
import reprlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scpo.text.secrets import has_secret, is_random, is_secret_name
from scpo.text.yaml_files import KeyPath, YamlValue, parse_yaml

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def apply_override(read: YamlValue, override: str) -> None:
    """Set one value by `key.sub=value`, the value YAML.

    Raises:
        ValueError: It is not `key=value`, the value is no YAML, the key is within a value, or a
            secret is given.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ValueError(f"An override is key.sub=value, but got {shorten(override)}.")
    if is_secret_name(key) or has_secret(text) or is_random(text):
        raise ValueError(
            f"--set {key}: a command line must carry no secret, because logs and lists of "
            "processes show it. Set the variable that its reader knows, such as HF_TOKEN."
        )
    place: KeyPath = tuple(key.split("."))
    section = read.value
    for parent in place[:-1]:
        if section.get(parent) is None:
            section[parent] = {}
        section = section[parent]
        if not isinstance(section, dict):
            raise ValueError(f"{shorten(override)}: {parent!r} holds a value, no keys.")
    try:
        documents = parse_yaml(text, f"--set {key}")
    except ValueError as error:
        raise ValueError(f"{shorten(override)}: the value is not YAML: {error}") from error
    section[place[-1]] = documents[0].value if documents else None
    for old in [old for old in read.places if old[: len(place)] == place]:
        del read.places[old]
    read.places[place] = f"--set {override}"


def plain_values(value: Any) -> Any:
    """Return a copy of settings as YAML would hold them, which shares nothing with them."""
    if isinstance(value, Mapping):
        return {key: plain_values(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(each) for each in value]
    numpy = sys.modules.get("numpy")  # who gives its values has imported it
    if numpy is not None and isinstance(value, numpy.generic | numpy.ndarray):
        return value.tolist()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def dotted_keys(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested settings by dotted key, such as `search.num_trials`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= dotted_keys(value, f"{above}{key}.")
        else:
            flat[f"{above}{key}"] = value
    return flat


def expand_variables(read: YamlValue, origin: str) -> YamlValue:
    """Return values with what `${NAME}` and `${NAME:-default}` stand for.

    Raises:
        ValueError: A variable is not set or is a secret, or a value carries credentials; setting
            and line are named, the secret is not.
    """
    refuse_secrets(read, origin)

    def expand(text: str, where: str) -> str:
        text = _VARIABLE.sub(lambda found: _from_environment(found, where), text)
        _refuse_credentials(text, where)
        return text

    return YamlValue(_each_text(read, origin, expand), read.places)


def refuse_secrets(read: YamlValue, origin: str) -> None:
    """Refuse credentials in a text, and variables that hold some.

    Raises:
        ValueError: There are some; setting and line are named, the secret is not.
    """

    def check(text: str, where: str) -> str:
        for found in _VARIABLE.finditer(text):
            if is_secret_name(found.group(1)):
                raise ValueError(
                    f"{where}: the secret {found.group(1)} must not become part of a "
                    "configuration, which is written into the run. Its reader takes it from the "
                    "environment: remove it here."
                )
        _refuse_credentials(text, where)
        return text

    _each_text(read, origin, check)


def _each_text(read: YamlValue, origin: str, change: Callable[[str, str], str]) -> Any:
    """Return the values with each text changed; `change` also gets its place in words."""

    def walk(value: Any, place: KeyPath) -> Any:
        if isinstance(value, dict):
            for key in filter(has_secret, map(str, value)):  # which a message would show
                _refuse_credentials(key, f"{origin}: {place_of((*place, key), read.places)}a key")
            return {key: walk(item, (*place, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*place, number)) for number, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        name = ".".join(map(str, place))
        return change(value, f"{origin}: {place_of(place, read.places)}{name}")

    return walk(read.value, ())


def _refuse_credentials(text: str, where: str) -> None:
    if has_secret(text):
        raise ValueError(
            f"{where}: must carry no credentials, because the configuration is written into the "
            "run. Set the variables that their reader knows (AWS_ACCESS_KEY_ID, HF_TOKEN)."
        )


def _from_environment(found: re.Match[str], where: str) -> str:
    known = os.environ.get(found.group(1), found.group(2))
    if known is None:
        raise ValueError(f"{where} needs the environment variable {found.group(1)}; set it.")
    if is_random(known):
        raise ValueError(
            f"{where}: the variable {found.group(1)} holds what looks like a secret, which must "
            "not become part of a configuration. Its reader takes it from the environment: "
            "remove it here."
        )
    return known


def place_of(place: Sequence[Any], places: Mapping[KeyPath, str]) -> str:
    """Return "line 3: " for what stands there, or for what it stands in."""
    prefixes = (tuple(place[:length]) for length in range(len(place), 0, -1))
    return next((f"{places[prefix]}: " for prefix in prefixes if prefix in places), "")


def shorten(text: str) -> str:
    """Return a text in quotes, as much of it as a message may show."""
    return repr(text) if len(text) <= 80 else reprlib.repr(text)
