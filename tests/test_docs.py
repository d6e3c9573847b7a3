"""The pages: every link leads somewhere, and every command and option that they show exists."""

import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
import typer.main
from typer import Typer

from scpo.__main__ import make_app
from scpo.config import DataConfig

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors_of(page: Path) -> set[str]:
    titles = re.findall(r"(?m)^#+ (.+)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors_of(file), target


def shown_commands(page: Path) -> list[str]:
    """Return the lines of code blocks that call scpo, without comments."""
    found = []
    for block in re.findall(r"(?ms)^```(?:sh|bash|console)?\n(.*?)^```", page.read_text()):
        lines = [
            line.strip().removeprefix("$ ") for line in block.replace("\\\n", " ").splitlines()
        ]
        found += [line.partition("  #")[0] for line in lines if line.startswith("scpo ")]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_exists(page: Path) -> None:
    app: Typer = make_app()
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for line in shown_commands(page):
        text = re.split(r"\s{3,}| \|", line)[0]  # a table's right column says what it does
        words = [word for word in shlex.split(text) if word != "..."]
        assert words[1] in commands, line
        options = {
            name for p in commands[words[1]].params for name in (*p.opts, *p.secondary_opts)
        }
        for word in words[2:]:
            if word.startswith("-") and not word.lstrip("-").isdigit():
                assert word.partition("=")[0] in options, line


def test_every_command_and_source_is_in_the_list_of_commands() -> None:
    lines = shown_commands(ROOT / "docs" / "commands.md")
    shown = [re.split(r"\s{3,}", line.removeprefix("scpo "))[0] for line in lines]
    words = {part.split()[0] for each in shown for part in each.split(" | ")}
    commands = typer.main.get_command(make_app()).commands  # type: ignore[attr-defined]
    assert commands.keys() <= words
    (prepare,) = [line for line in lines if line.startswith("scpo prepare")]
    sources = {*get_args(DataConfig.model_fields["source"].annotation)} - {"prepared"}
    assert {source for source in sources if re.search(rf"\b{source}\b", prepare)} == sources


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / ".mkdocs.yml").read_text().partition("nav:")[2]
    assert {*re.findall(r"[\w-]+\.(?:md|ipynb)", nav)} == {
        path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".ipynb")
    }


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
