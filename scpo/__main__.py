"""The command line: `scpo COMMAND ...`, also as `python -m scpo`.

A handler reads its options, calls one function of the room that does the work, and prints what
came of it. Handlers import what they need themselves, so that `scpo --help`, ranking and the
report start without torch or Ray. Errors that a user can cause end in one line and exit code 2.
"""

import errno
import os
import sys

import typer

from scpo.commands import cluster, judge, sweep, train

COMMANDS = (
    train.prepare,
    train.train_global,
    train.score,
    train.train,
    judge.evaluate,
    judge.opinions,
    sweep.sweep,
    sweep.probe,
    sweep.plan,
    sweep.ablate,
    sweep.rank,
    sweep.curves,
    sweep.science,
    sweep.study,
    sweep.report,
    cluster.submit,
    cluster.jobs,
    cluster.status,
    cluster.logs,
    cluster.stop,
    cluster.fetch,
    cluster.doctor,
)


def make_app() -> typer.Typer:
    """Return the command line with all commands."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Reward models of one country's preferences: train, search, rank, report.",
    )
    for command in COMMANDS:
        app.command()(command)
    return app


def main() -> None:
    """Run the command line; an error a user can cause is one line on stderr, exit code 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        make_app()()
    except (ValueError, OSError, RuntimeError) as error:
        if os.environ.get("SCPO_TRACEBACK"):
            raise
        sys.stderr.write(f"scpo: {error}{_advice(error)}\n")
        raise SystemExit(2) from None


def _advice(error: Exception) -> str:
    """Return what to do about an error that does not say so itself."""
    if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
        return ""
    return (
        ". The disk, or what you may use of it, is full. What was written whole is kept: free "
        "some space and give the same command again (a sweep with --resume)."
    )


if __name__ == "__main__":
    main()
