"""Options and output that several commands share."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from scpo.config import EncoderConfig

WIDTH = None if sys.stdout.isatty() else 150  # a file or a pipe has no width of its own
console = Console(soft_wrap=True, highlight=False, width=WIDTH)


def _local(path: Path) -> Path:
    """Refuse a URI where only a folder will do: it would become a folder named `s3:`."""
    if path.parts and path.parts[0] in ("s3:", "gs:"):
        raise ValueError(
            "This command writes to a folder of this machine, but got a URI. Only `scpo sweep`, "
            "`rank`, `curves` and `report` take s3:// and gs://; give a folder."
        )
    return path


Out = Annotated[Path, typer.Option("--out", help="Folder to write to.", callback=_local)]
OutPlace = Annotated[str, typer.Option("--out", help="Folder to write to, or s3:// or gs:// URI.")]
Data = Annotated[Path, typer.Option("--data", help="Folder that `scpo prepare` wrote.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override: key.sub=value; may be repeated.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration only.")]
Cache = Annotated[Path, typer.Option(help="Folder of cached reference rewards.")]
MaxTokens = Annotated[int, typer.Option(help="Longest text, in tokens.")]
Overlong = Annotated[
    str,
    typer.Option(help="Longer texts: truncate_prompt, truncate_left, or drop their pairs."),
]
Run = Annotated[str, typer.Argument(help="Folder of a sweep, or its s3:// or gs:// URI.")]


def say(line: str) -> None:
    """Print a line of progress at once."""
    console.print(line, markup=False)


def split_names(text: str) -> list[str]:
    """Return comma-separated names."""
    return [name.strip() for name in text.split(",") if name.strip()]


def encoder_settings(max_tokens: int, overlong: str) -> "EncoderConfig":
    """Return how texts become tokens, checked."""
    from scpo.config import EncoderConfig, parse_config

    given = {"max_tokens": max_tokens, "overlong": overlong}
    return parse_config(EncoderConfig, given, "options")
