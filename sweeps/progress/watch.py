"""A sweep followed from its folder, by another process than the one that runs it.

Everything comes from the configuration and the ledger. A sweep runs as long as its lock is
touched, which it is every few seconds.
"""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live

from scpo.files.output_folder import LOCK, STALE_S
from sweeps.config import SweepConfig
from sweeps.ledger.records import LEDGER_NAME, TrialRecord, read_records
from sweeps.progress.progress_table import describe_record, progress_table
from sweeps.run.run_folder import read_run_config

_STEP_S = 1.0
_SHOWN = 3  # failures


def watch_run(run: Path, console: Console, *, once: bool = False) -> None:
    """Show a run until its sweep ends, or once: a table on a terminal, else a line a training.

    Raises:
        FileNotFoundError: The folder has no configuration.
        ValueError: Configuration or ledger cannot be read.
    """
    config, records = read_run_config(run), _records_of(run)
    if once or not is_running(run):
        console.print(watch_view(config, records, running=is_running(run)))
        return
    if not console.is_terminal:
        _follow_lines(run, console)
    else:
        with Live(console=console, refresh_per_second=4) as live:
            size = -1
            while running := is_running(run):
                if size != (size := _size_of(run)):
                    records = _records_of(run)
                live.update(watch_view(config, records, running=running))
                time.sleep(_STEP_S)
            live.update(watch_view(config, _records_of(run), running=False))
            return
    console.print(watch_view(config, _records_of(run), running=False))


def watch_view(config: SweepConfig, records: Sequence[TrialRecord], *, running: bool) -> Group:
    """Return the table of the search, and lines of the other stages and of failures."""
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
        f"{config.name} {'is running' if running else 'does not run'}",
    ]
    return Group(progress_table(search, to_do, _elapsed_s(search, running)), *lines)


def is_running(run: Path) -> bool:
    """Tell whether a process of any machine writes a run's folder."""
    lock = run / LOCK
    return lock.is_file() and time.time() - lock.stat().st_mtime <= STALE_S


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
