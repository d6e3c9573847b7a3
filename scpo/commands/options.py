"""Options and output that several commands share."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from typer import Argument, Option

if TYPE_CHECKING:
    from scpo.config import Config, EncoderConfig

_WIDTH = None if sys.stdout.isatty() else 150  # a file or a pipe has no width of its own
console = Console(soft_wrap=True, highlight=False, width=_WIDTH)


def _local(path: Path) -> Path:
    """Refuse a URI where a folder is needed: it would become a folder named `s3:`."""
    if path.parts and path.parts[0] in ("s3:", "gs:"):
        raise ValueError(
            "This command writes to a local folder, but got a URI. Only `scpo sweep`, `rank`, "
            "`curves` and `report` take s3:// and gs://; give a folder."
        )
    return path


Out = Annotated[Path, Option("--out", metavar="DIR", help="Output folder.", callback=_local)]
OutPlace = Annotated[str, Option("--out", metavar="DIR", help="Output folder or URI.")]
Data = Annotated[Path, Option("--data", metavar="DIR", help="Folder written by `scpo prepare`.")]
Set = Annotated[
    list[str] | None, Option("--set", metavar="KEY=VALUE", help="Change a setting; repeatable.")
]
Overwrite = Annotated[
    bool, Option("--overwrite", help="Replace what this command wrote to the output folder.")
]
DryRun = Annotated[bool, Option("--dry-run", help="Print the configuration and stop.")]
Cache = Annotated[Path, Option(metavar="DIR", help="Cache of reference rewards.")]
MaxTokens = Annotated[int, Option(help="Longest text, in tokens.")]
LongTexts = Annotated[str, Option(help="Longer: truncate_prompt, truncate_left, drop.")]
OnBadRows = Annotated[str, Option(help="quarantine (skip, list) or stop.")]
Run = Annotated[str, Argument(help="Output folder or URI of `scpo sweep`.")]


def say(line: str) -> None:
    """Print a line of progress at once."""
    console.print(line, markup=False)


def split_names(text: str) -> list[str]:
    """Return comma-separated names."""
    return [name.strip() for name in text.split(",") if name.strip()]


def stop_if_dry_run(config: "Config", dry_run: bool) -> None:
    """On a dry run, print the configuration and end the command.

    Raises:
        typer.Exit: It is a dry run.
    """
    from scpo.config import dump_config

    if dry_run:
        console.print(dump_config(config), markup=False)
        raise typer.Exit


def encoder_settings(max_tokens: int, overlong: str) -> "EncoderConfig":
    """Return how texts become tokens, checked."""
    from scpo.config import EncoderConfig, parse_config

    given = {"max_tokens": max_tokens, "overlong": overlong}
    return parse_config(EncoderConfig, given, "options")
