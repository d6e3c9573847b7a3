"""Options and output that several commands share."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from scpo.files.places import begins_as_uri
from scpo.text.terminal import console

if TYPE_CHECKING:
    from scpo.config import Config, EncoderConfig


def in_home(given: Any) -> Any:
    """Return a path, or each of several, in the home folder where it begins with `~`."""
    if isinstance(given, list):
        return [in_home(each) for each in given]
    return given if given is None else type(given)(os.path.expanduser(given))


def local_path(path: Any) -> Any:
    """Refuse a URI where a local path is needed: it would become a folder named `s3:`.

    Raises:
        ValueError: The path is one.
    """
    if path is not None and begins_as_uri(path):
        raise ValueError(
            f"This command writes to a local folder or file, but got the URI {path.parts[0]}//"
            f"{'/'.join(path.parts[1:])}. Only `scpo sweep`, `rank`, `curves` and `report` take "
            "s3:// and gs://; give a local path."
        )
    return in_home(path)


Out = Annotated[Path, Option("--out", metavar="DIR", help="Output folder.", callback=local_path)]
OutPlace = Annotated[
    str, Option("--out", metavar="DIR", help="Output folder or URI.", callback=in_home)
]
Data = Annotated[
    Path,
    Option("--data", metavar="DIR", help="Folder written by `scpo prepare`.", callback=in_home),
]
Set = Annotated[
    list[str] | None, Option("--set", metavar="KEY=VALUE", help="Change a setting; repeatable.")
]
Overwrite = Annotated[
    bool, Option("--overwrite", help="Replace what this command wrote to the output folder.")
]
DryRun = Annotated[bool, Option("--dry-run", help="Print the configuration and stop.")]
Cache = Annotated[
    Path, Option(metavar="DIR", help="Cache of reference rewards.", callback=local_path)
]
MaxTokens = Annotated[int, Option(help="Longest text, in tokens.")]
Budget = Annotated[
    int | None, Option("--max-tokens", help="Longest text; default: as the model, else 512.")
]
LongTexts = Annotated[
    str | None,
    Option(help="Longer: truncate_prompt (default, or as the model), truncate_left, drop."),
]
OnBadRows = Annotated[str, Option(help="quarantine (skip, list) or stop.")]
RunPlace = Annotated[str, Argument(help="Output folder or URI of `scpo sweep`.", callback=in_home)]


def _quiet_for_json(wanted: bool) -> bool:
    """Keep everything but the result from the output."""
    console.quiet = console.quiet or wanted
    return wanted


Json = Annotated[
    bool,
    Option("--json", help="Print the result as JSON, and nothing else.", callback=_quiet_for_json),
]


def show_json(wanted: bool, result: object) -> None:
    """Print a command's result as JSON, where that is wanted; what is not finite is null.

    A reader that has gone, such as `head`, wants no more of it.

    Raises:
        OSError: The standard output cannot be written.
    """
    if not wanted:
        return
    try:
        typer.echo(json.dumps(_finite(result), ensure_ascii=False, default=str))
    except BrokenPipeError:
        console.on_broken_pipe()
    except OSError as error:
        console.on_broken_pipe()  # what is left to be written would fail again at the end
        raise OSError(
            error.errno, f"The standard output: {os.strerror(error.errno or 0)}"
        ) from error


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def say(line: str) -> None:
    """Print a line of progress at once."""
    console.print(line)


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
        console.print(dump_config(config))
        raise typer.Exit


def encoder_settings(max_tokens: int | None, overlong: str | None) -> "EncoderConfig":
    """Return how texts become tokens, checked; what is None stays unset."""
    from scpo.config import EncoderConfig, parse_config

    given = {"max_tokens": max_tokens, "overlong": overlong}
    set_ = {name: value for name, value in given.items() if value is not None}
    return parse_config(EncoderConfig, set_, "options")
