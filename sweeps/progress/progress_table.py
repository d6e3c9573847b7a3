"""Progress of trainings: a live table on a terminal, lines elsewhere.

Shown are, per country, trainings done and to do, the best feasible validation accuracy, the size
of the Pareto front, pruned and failed trials, and the time left at the pace so far.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from scpo.statistics.wording import format_accuracy
from scpo.text.terminal import TextConsole
from sweeps.ledger.records import TrialRecord
from sweeps.ranking.pareto import pareto_front


@contextmanager
def follow_progress(
    say: Callable[[str], None], to_do: Mapping[str, int], console: Console | None = None
) -> Iterator[Callable[[TrialRecord], None]]:
    """Yield a function to call with each record.

    Args:
        say: Takes a line, where there is no terminal.
        to_do: Trainings still to come, by country; read at each record.
        console: Where the table goes; None for standard output.
    """
    console = console or TextConsole()
    started = time.monotonic()
    records: list[TrialRecord] = []

    def say_line(record: TrialRecord) -> None:
        records.append(record)
        total = sum(to_do.values())
        left = time_left(time.monotonic() - started, len(records), total)
        say(f"  [{len(records)}/{total}, {left:.0f} s left] {describe_record(record)}")

    if not console.is_terminal:
        yield say_line
        return
    with Live(progress_table([], to_do, 0.0), console=console, refresh_per_second=4) as live:

        def show(record: TrialRecord) -> None:
            records.append(record)
            live.update(progress_table(records, to_do, time.monotonic() - started))

        yield show


def progress_table(
    records: Sequence[TrialRecord], to_do: Mapping[str, int], elapsed_s: float
) -> Table:
    """Return the progress of each country, given the records so far and the trainings to do."""
    total = sum(to_do.values())
    left = time_left(elapsed_s, len(records), total)
    title = f"{len(records)} of {total} trainings, {left:.0f} s left"
    table = Table(title=title, title_justify="left")
    table.add_column("country")
    for name in ("done", "best accuracy", "front", "pruned", "failed"):
        table.add_column(name, justify="right")
    for country, count in to_do.items():
        mine = [record for record in records if record.country == country]
        complete = [r for r in mine if r.state == "complete" and r.objectives]
        values = [
            [r.objectives["validation_accuracy"], r.objectives["pairs_trained"]]
            for r in complete
            if r.feasible
        ]
        front = pareto_front(values).sum() if values else 0
        table.add_row(
            country,
            f"{len(mine)}/{count}",
            format_accuracy(max(value[0] for value in values)) if values else "-",
            str(front),
            str(sum(record.state == "pruned" for record in mine)),
            str(sum(record.state == "failed" for record in mine)),
        )
    return table


def time_left(elapsed_s: float, done: int, total: int) -> float:
    """Return the seconds left at the pace so far; 0 before the first is done."""
    return elapsed_s / done * max(0, total - done) if done else 0.0


def describe_record(record: TrialRecord) -> str:
    """Return a record in a line."""
    name = f"{record.trial_id} {record.arm}"
    if record.state == "pruned":
        return f"{name}: stopped at {record.rung} labelled pairs"
    if record.evaluation is None:
        return f"{name}: {record.state}: {record.error}"
    overall = record.evaluation.overall
    return (
        f"{name}: {format_accuracy(overall.accuracy)} on {record.evaluation.part}, "
        f"{record.counts.get('pairs_trained', 0):.0f} pairs, "
        f"{record.times.get('train_s', 0):.1f} s"
    )
