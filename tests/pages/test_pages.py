"""Pages made from the code are what the code says now, and nothing on them is left blank."""

import inspect
import re

import pytest
import typer.main

from scpo.__main__ import COMMANDS, make_app
from scpo.config import Config, parse_config
from scpo.text.yaml_files import read_yaml
from sweeps.config import SweepConfig
from sweeps.research.study.study_config import StudyConfig
from tests.pages.all_pages import DOCS, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_up_to_date(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), f"docs/{name} is out of date; `make pages` renews it"


def parts_of(model: type[Config]) -> set[type[Config]]:
    """Return a configuration and all configurations within it."""
    found, waiting = set(), [model]
    while waiting:
        kind = waiting.pop()
        if inspect.isclass(kind) and issubclass(kind, Config):
            if kind not in found:
                found.add(kind)
                waiting += [field.annotation for field in kind.model_fields.values()]
        else:
            waiting += getattr(kind, "__args__", ())
    return found


def test_every_setting_is_described() -> None:
    parts = parts_of(SweepConfig) | parts_of(StudyConfig)
    assert len(parts) == 19
    for part in parts:
        for name, field in part.model_fields.items():
            described = field.description or parts_of(field.annotation)
            assert described, f"{part.__name__}.{name} needs a description"


def test_every_setting_is_on_the_page() -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| `([\w.]+)` \| (.*) \| (.*) \| (.*) \|$", page)
    assert all(kind and meaning for _, kind, _, meaning in rows)
    keys = {key for key, *_ in rows}
    for part, place in {"training": "training.", "search": "search.", "lanes": "lanes."}.items():
        kind = SweepConfig.model_fields[part].annotation
        assert {place + name for name in kind.model_fields} <= keys  # type: ignore[union-attr]
    defaults = {key: default for key, _, default, _ in rows}
    assert defaults["search.retention"] == "`[0.2, 1.0]`"
    assert defaults["training.lora"] == "none"
    assert defaults["countries"] == "required"
    assert defaults["frozen.NAME.encoder"] == '`{"max_tokens": 256}`'


def test_the_shown_configuration_is_one(tmp_path) -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    [block] = re.findall(r"(?s)```yaml\n(.*?)```", page)
    file = tmp_path / "shown.yaml"
    file.write_text(block)
    assert parse_config(SweepConfig, read_yaml(file).value, "page").countries == ("Mexico",)


def test_every_option_is_on_the_page_and_says_what_it_does() -> None:
    page = (DOCS / "command-options.md").read_text(encoding="utf-8")
    commands = typer.main.get_command(make_app()).commands  # type: ignore[attr-defined]
    assert len(commands) == sum(map(len, COMMANDS.values()))
    for name, command in commands.items():
        [text] = re.findall(rf"(?ms)^### `scpo {name}`\n(.*?)(?=^##|\Z)", page)
        for parameter in command.params:
            is_option = parameter.opts[0].startswith("-")
            shown = parameter.opts[0] if is_option else parameter.metavar or parameter.name
            assert re.search(rf"(?m)^\* `[^`]*{shown}\b[^`]*`: \S", text), (name, shown)


def test_every_public_function_has_an_example() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    examples = " ".join(re.findall(r"(?m)^(?:>>>|\.\.\.) (.*)$", page))
    titles = re.findall(r"(?m)^##+ (.+)$", page)
    assert {"RewardModel", "Mixture", "mix", "Preferences", "train", "sweep", "Run"} <= set(titles)
    for title in titles:
        *_, name = title.split(".")
        [text] = re.findall(rf"(?ms)^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", page)
        is_function = re.search(r"(?m)^```python\n.*\((.|\n)*?\) -> ", text)
        shown = ">>>" in text or re.search(rf"\.{name}\b", examples)
        assert shown or not is_function, f"{title} needs an example"
