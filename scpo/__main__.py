"""The command line: `scpo COMMAND ...`, also as `python -m scpo`.

A command reads its options, calls one function of the room that does the work, and prints the
result. Commands import what they need when they run, so that `scpo --help`, ranking and the report
start without torch or Ray. What goes wrong ends in one line on standard error, and an exit code:
2 for what could not be done, 1 where a part of what was done failed, 130 after Ctrl-C, 143 after
SIGTERM. A fault with a traceback has it in a file, which that line names.
"""

import logging
import os
import sys
import warnings
from importlib.metadata import version
from typing import Annotated, TextIO

import typer

from scpo.commands import cluster, evaluation, research, results, sweep, train, use
from scpo.commands.endings import LastLine
from scpo.text.terminal import console, warn

COMMANDS = {
    "Data": (train.prepare,),
    "Training": (train.train_global, train.score, train.train),
    "Evaluation": (evaluation.evaluate, evaluation.opinions),
    "Sweeps": (sweep.demo, sweep.plan, sweep.probe, sweep.sweep, sweep.ablate),
    "Results of a sweep": (
        *(results.watch, results.rank, results.curves, results.report, results.track),
        results.repair,
    ),
    "Use": (use.score_file, use.rerank, use.serve, use.export),
    "Research": (research.science, research.study),
    "Cluster": (
        *(cluster.doctor, cluster.submit, cluster.jobs, cluster.status),
        *(cluster.logs, cluster.stop, cluster.fetch),
    ),
}


def make_app() -> typer.Typer:
    """Return the command line with all commands, in groups."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Train, search, rank and report reward models of one country's preferences.",
    )
    app.callback()(_options)
    for panel, commands in COMMANDS.items():
        for command in commands:
            app.command(rich_help_panel=panel)(command)
    return app


def main() -> None:
    """Run the command line; the process ends with its exit code."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Processes that this one starts import nothing from the current directory: data may lie there.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    if not os.environ.get("RAY_ADDRESS", "set").strip():
        del os.environ["RAY_ADDRESS"]  # empty is unset, for Ray too
    with LastLine(sys.argv[1:]) as ending, warnings.catch_warnings():
        warnings.showwarning = _show_warning
        ending.run(make_app())


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning as one line, without the line of code that gave it."""
    warn(str(message))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"scpo {version('scpo')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Log more; twice: all.")
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only warnings, errors and --json.")
    ] = False,
) -> None:
    """Train, search, rank and report reward models of one country's preferences."""
    console.quiet = quiet
    if verbose:
        logging.basicConfig(format="%(name)s: %(message)s")
        logging.getLogger().setLevel(logging.INFO if verbose == 1 else logging.DEBUG)


if __name__ == "__main__":
    main()
