"""A sweep followed from its folder, by another process than the one that runs it.

Everything comes from the configuration and the ledger. A sweep runs as long as its lock is
touched, which it is every few seconds; a process that is stopped touches nothing, and one that
makes no progress does not touch the folder's marker.
"""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live

from scpo.files.output_folder import STALE_S, find_writer
from sweeps.config import SweepConfig
from sweeps.ledger.records import LEDGER_NAME, TrialRecord, read_records
from sweeps.progress.progress_table import describe_record, progress_table
from sweeps.run.run_folder import read_run_config

_STEP_S = 1.0
_SHOWN = 3  # failures
_STILL_S = 300.0  # without progress, which is told


def watch_run(run: Path, console: Console, *, once: bool = False) -> None:
    """Show a run until its sweep ends, or once: a table on a terminal, else a line a training.

    Raises:
        FileNotFoundError: The folder has no configuration.
        ValueError: Configuration or ledger cannot be read.
    """
    config, records = read_run_config(run), _records_of(run)
    if once or not is_running(run):
        _show(config, records, run, console)
        return
    if not console.is_terminal:
        _follow_lines(run, console)
    else:
        with Live(console=console, refresh_per_second=4) as live:
            size = -1
            while running := is_running(run):
                if size != (size := _size_of(run)):
                    records = _records_of(run)
                live.update(watch_view(config, records, running, describe_state(run)))
                time.sleep(_STEP_S)
            live.update(watch_view(config, _records_of(run), running, describe_state(run)))
            return
    _show(config, _records_of(run), run, console)


def watch_view(
    config: SweepConfig, records: Sequence[TrialRecord], running: bool, state: str
) -> Group:
    """Return the table of the search, and lines of other stages, of failures and of the state."""
    search = [record for record in records if record.purpose == "search"]
    to_do = dict.fromkeys(config.countries, config.search.num_trials)
    done = Counter(record.purpose for record in records if record.state != "failed")
    final, curves = config.final, config.curves
    num_final = len(config.countries) * (1 + (len(final.arms) + 1) * len(final.seeds))
    per_country = len(curves.arms) * len(curves.budgets) * len(curves.seeds)
    failed = [record for record in records if record.state == "failed"]
    lines = [
        f"curves: {done['curve']} of {len(config.countries) * per_country} trainings, or fewer "
        "where the search has trained some",
        f"final: {done['final']} of {num_final} models",
        *(describe_record(record) for record in failed[-_SHOWN:]),
        f"{config.name} {state}",
    ]
    return Group(progress_table(search, to_do, _elapsed_s(search, running)), *lines)


def is_running(run: Path) -> bool:
    """Tell whether a process of any machine writes a run's folder."""
    writer = find_writer(run)
    return writer is not None and writer.silent_s <= STALE_S


def describe_state(run: Path) -> str:
    """Return whether a run's folder is being written, and whether its process hangs."""
    writer = find_writer(run)
    if writer is None or (writer.silent_s > STALE_S and not writer.owner):
        return "is not running"
    who = "its process"
    if writer.owner:
        who = "process {pid} of {user} on {host}".format(**writer.owner)
    if writer.silent_s > STALE_S:
        return (
            f"hangs, or its machine is gone: {who} gave no sign of life for "
            f"{writer.silent_s:.0f} s. End it, then resume with --resume"
        )
    if writer.still_s > _STILL_S:
        return f"is running, but {who} has made no progress for {writer.still_s:.0f} s"
    return "is running"


def _show(
    config: SweepConfig, records: Sequence[TrialRecord], run: Path, console: Console
) -> None:
    console.print(watch_view(config, records, is_running(run), describe_state(run)))


def _follow_lines(run: Path, console: Console) -> None:
    seen, size, running = 0, -1, True
    while running:
        running = is_running(run)
        if size != (size := _size_of(run)):
            records = _records_of(run)
            for record in records[seen:]:
                console.print(describe_record(record))
            seen = len(records)
        if running:
            time.sleep(_STEP_S)


def _elapsed_s(records: Sequence[TrialRecord], running: bool) -> float:
    """Return seconds from the first start to now, or to the last end."""
    spans = [
        (datetime.fromisoformat(str(record.times["started"])).timestamp(), record.times)
        for record in records
        if "started" in record.times
    ]
    if not spans:
        return 0.0
    last = max(started + float(times.get("wall_s", 0.0)) for started, times in spans)
    end = datetime.now(UTC).timestamp() if running else last
    return max(0.0, end - min(started for started, _ in spans))


def _records_of(run: Path) -> list[TrialRecord]:
    return read_records(run) if (run / LEDGER_NAME).is_file() else []


def _size_of(run: Path) -> int:
    ledger = run / LEDGER_NAME
    return ledger.stat().st_size if ledger.is_file() else 0
