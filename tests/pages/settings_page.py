"""docs/configuration.md: every setting of the configurations, from their pydantic models.

In comes the JSON schema that pydantic makes of the models, out goes a table for each part: key as
`--set` takes it, type, default and meaning. A part that stands in several places has one table,
to which the others link.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from sweeps.config import SweepConfig
from sweeps.research.study.study_config import StudyConfig

Schema = Mapping[str, Any]

TITLES = {SweepConfig.__name__: "A sweep", StudyConfig.__name__: "A study"}
HEAD = """# Configuration

Every setting of `scpo sweep` and `scpo study`, a table for each part. [Sweeps](sweeps.md) says how
the parts work together; `scpo plan` says what a configuration takes.

A configuration is a YAML file. The least that a sweep needs:

```yaml
name: mexico
countries: [Mexico]
global_model: {name: OpenAssistant/reward-model-deberta-v3-base}
```

- `--set KEY=VALUE` changes a setting by its key below, such as `--set search.num_trials=40`.
- `${NAME}` and `${NAME:-default}` in a text are taken from the environment.
- An unknown key is refused and the nearest one named, a value out of range is refused.
- Accuracies and shares are fractions from 0 to 1; what ends in `_s` is in seconds.
"""
_BOUNDS = {
    "minimum": "from {}",
    "exclusiveMinimum": "above {}",
    "maximum": "to {}",
    "exclusiveMaximum": "below {}",
    "pattern": "`{}`",
}
_WORDS = {
    "boolean": "true or false",
    "integer": "whole number",
    "null": "none",
    "string": "text",
}


def settings_page() -> str:
    """Return the page."""
    _, whole = models_json_schema(
        [(SweepConfig, "validation"), (StudyConfig, "validation")], ref_template="{model}"
    )
    schemas = whole["$defs"]
    places = _places(schemas)
    return HEAD + "".join(_section(name, schemas, places) for name in places)


def _places(schemas: Mapping[str, Schema]) -> dict[str, str]:
    """Return the key of the first place of each part, in the order of the page."""
    places: dict[str, str] = {}
    for root in TITLES:
        waiting, found = [(root, "")], {}
        while waiting:
            name, place = waiting.pop(0)
            if name not in places | found:
                found[name] = place
                for key, field in schemas[name]["properties"].items():
                    waiting += _parts(field, f"{place}.{key}".removeprefix("."))
        tops = ["", *schemas[root]["properties"]]
        places |= sorted(found.items(), key=lambda item: tops.index(item[1].split(".")[0]))
    return places


def _parts(field: Schema, key: str) -> Iterator[tuple[str, str]]:
    """Yield the parts that a field may hold, each with its key."""
    if "$ref" in field:
        yield field["$ref"], key
    for option in field.get("anyOf", ()):
        yield from _parts(option, key)
    if isinstance(of_names := field.get("additionalProperties"), dict):
        yield from _parts(of_names, f"{key}.NAME")


def _section(name: str, schemas: Mapping[str, Schema], places: Mapping[str, str]) -> str:
    place, schema = places[name], schemas[name]
    title = f"`{place}`" if place else TITLES[name]
    rows = [
        "| `{}` | {} | {} | {} |".format(
            f"{place}.{key}".removeprefix("."),
            _type(field, places),
            "required" if key in schema.get("required", ()) else _default(field, schemas),
            _meaning(field, schemas).replace("|", "\\|"),
        )
        for key, field in schema["properties"].items()
    ]
    table = "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])
    return f"\n## {title}\n\n{_lead(schema)}\n\n{table}\n"


def _type(field: Schema, places: Mapping[str, str]) -> str:
    """Return what a field takes, in words."""
    if "$ref" in field:
        place = places[field["$ref"]]
        return f"[{place}](#{place.replace('.', '').lower()})"
    if "anyOf" in field:
        return " or ".join(_type(option, places) for option in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{each}`" for each in field["enum"])
    if "prefixItems" in field:
        return f"[lowest, highest], each {_type(field['prefixItems'][0], places)}"
    if field["type"] == "array":
        return f"list: {_type(field['items'], places)}"
    if field["type"] == "object":
        return f"by name: {_type(field['additionalProperties'], places)}"
    bounds = [word.format(field[key]) for key, word in _BOUNDS.items() if key in field]
    return " ".join([_WORDS.get(field["type"], field["type"]), *bounds])


def _default(field: Schema, schemas: Mapping[str, Schema]) -> str:
    """Return the default; of a part, what differs from the part's own defaults."""
    default = field["default"]
    if "$ref" in field:
        usual = schemas[field["$ref"]]["properties"]
        default = {key: own for key, own in default.items() if own != usual[key].get("default")}
        if not default:
            return ""
    return "none" if default is None else f"`{json.dumps(default, ensure_ascii=False)}`"


def _meaning(field: Schema, schemas: Mapping[str, Schema]) -> str:
    """Return what a field says of itself, or what the part in it says."""
    if "description" in field:
        return str(field["description"])
    [(name, _)] = _parts(field, "")
    return _lead(schemas[name])


def _lead(schema: Schema) -> str:
    return " ".join(schema["description"].split("\n\n")[0].split())
