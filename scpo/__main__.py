"""The command line: `scpo COMMAND ...`, also as `python -m scpo`.

A command reads its options, calls one function of the room that does the work, and prints the
result. Commands import what they need when they run, so that `scpo --help`, ranking and the report
start without torch or Ray. Errors that a user can cause end in one line and exit code 2.
"""

import errno
import os
import sys

import typer

from scpo.commands import cluster, evaluation, sweep, train
from scpo.interrupts import Stopped

COMMANDS = {
    "Data": (train.prepare,),
    "Training": (train.train_global, train.score, train.train),
    "Evaluation": (evaluation.evaluate, evaluation.opinions),
    "Sweeps": (sweep.plan, sweep.probe, sweep.sweep, sweep.ablate),
    "Results of a sweep": (sweep.rank, sweep.curves, sweep.report),
    "Research": (sweep.science, sweep.study),
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
    for panel, commands in COMMANDS.items():
        for command in commands:
            app.command(rich_help_panel=panel)(command)
    return app


def main() -> None:
    """Run the command line; an error that a user can cause is one line, and exit code 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        make_app()()
    except Stopped as stopped:
        sys.stderr.write(f"scpo: {stopped}\n")
        raise SystemExit(stopped.exit_code) from None
    except (ValueError, OSError, RuntimeError) as error:
        if os.environ.get("SCPO_TRACEBACK"):
            raise
        sys.stderr.write(f"scpo: {error}{_advice(error)}\n")
        raise SystemExit(2) from None


def _advice(error: Exception) -> str:
    """Return what to do if the disk or the quota is full."""
    if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
        return ""
    return (
        ". The disk or your quota is full. Complete files are kept: free some space and run the "
        "same command again (a sweep with --resume)."
    )


if __name__ == "__main__":
    main()
