"""docs/command-options.md: every command with its arguments and options, by typer's own writer."""

import re

import typer
import typer.main
from typer.cli import get_docs_for_click

from scpo.__main__ import COMMANDS, make_app

HEAD = """# Options of every command

As `scpo COMMAND --help` shows them. [Commands](commands.md) lists them all, a line each.
`scpo --version` shows the version, `-v` and `-q` before a command log more or less, and
`--install-completion` teaches the shell to complete.
"""


def options_page() -> str:
    """Return the page."""
    whole = typer.main.get_command(make_app())
    context = typer.Context(whole, info_name="scpo")
    parts = [HEAD]
    for panel, functions in COMMANDS.items():
        parts.append(f"## {panel}\n")
        for function in functions:
            name = function.__name__.replace("_", "-")
            command = whole.commands[name]  # type: ignore[attr-defined]
            text = get_docs_for_click(obj=command, ctx=context, name=name, call_prefix="scpo")
            parts.append(_as_section(text))
    return "\n".join(parts).rstrip() + "\n"


def _as_section(text: str) -> str:
    """Return a command's text a level lower, its usage and examples as blocks of code."""
    text = text.replace("# `", "### `", 1).replace("$ scpo", "scpo").replace("```console", "```")
    text = text.replace("**Usage**:\n\n", "").replace(
        "* `--help`: Show this message and exit.\n", ""
    )
    text = text.replace("**Options**:\n\n\n", "")
    return re.sub(r"(?m)^Example: (scpo .+)$", r"```\n\1\n```", text).rstrip() + "\n"
