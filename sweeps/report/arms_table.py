"""Figures by country and arm: `arms.csv`, `ablation.csv` and their tables for the terminal.

In come the `final` records of a run (on test users), or an ablation's of one part of the users;
out come pooled rows of them: both layers, the global model and "longer response wins" on the same
pairs, and paired differences. How far the seeds of an ablation's arm differ stands beside its
interval: standard deviation, smallest and largest accuracy.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from rich.table import Table

from scpo.arrays import Row
from scpo.statistics.wording import format_accuracy, format_difference
from scpo.text.terminal_table import terminal_table
from sweeps.ledger.pooled import (
    PooledRow,
    gather_cells,
    note_countries,
    pooled_rows,
    write_columns,
)
from sweeps.ledger.records import Purpose, TrialRecord
from sweeps.ledger.words import ARMS, BASELINE, GLOBAL, TUNED_ARM

ARM_COLUMNS = """
    country arm accuracy low high pairs users distinctive distinctive_pairs consensus
    consensus_pairs global_accuracy length_accuracy vs_full vs_full_low vs_full_high vs_global
    vs_global_low vs_global_high pairs_trained num_seeds num_countries country_mean note
""".split()
_ABLATION_CSV = """
    country arm accuracy low high seed_sd seed_min seed_max num_seeds vs_full vs_full_low
    vs_full_high distinctive distinctive_pairs consensus consensus_pairs pairs users
    pairs_trained num_countries
""".split()

_SHOWN: Mapping[str, Callable[[PooledRow], str | int]] = {
    "country": lambda row: row.country,
    "arm": lambda row: row.arm,
    "accuracy": lambda row: format_accuracy(row.accuracy),
    "between seeds": lambda row: _between_seeds(row),
    "against full": lambda row: format_difference(row.difference(BASELINE)),
    "against global": lambda row: format_difference(row.difference(GLOBAL)),
    "distinctive": lambda row: (
        f"{format_accuracy(row.distinctive.value)} of {row.distinctive_pairs}"
    ),
    "consensus": lambda row: f"{format_accuracy(row.consensus.value)} of {row.consensus_pairs}",
    "global": lambda row: format_accuracy(row.global_accuracy),
    "longer wins": lambda row: format_accuracy(row.length_accuracy),
    "pairs": lambda row: row.pairs,
    "users": lambda row: row.users,
    "pairs trained": lambda row: "" if row.pairs_trained is None else f"{row.pairs_trained:.0f}",
}


def arm_rows(records: Sequence[TrialRecord], purpose: Purpose = "final") -> list[PooledRow]:
    """Return the rows of the table: pooled first where there are two countries, then by country.

    `purpose` is "final" for models, "head" for the heads that were tested beside them.

    Raises:
        ValueError: A record is not evaluated on test users, or on other users than the rest of
            its country.
    """
    tested = [record for record in records if record.purpose == purpose]
    tested.sort(key=lambda record: record.country)
    return pooled_rows(gather_cells(tested, "test"), bases=(BASELINE, GLOBAL))


def write_arms(
    rows: Sequence[PooledRow], path: Path, notes: Mapping[str, str] | None = None
) -> None:
    """Write the rows as CSV, empty cells for what is not known.

    `notes` say, by country, what stands beside the figures of the searched setting.
    """
    write_columns(ARM_COLUMNS, arm_columns(rows, notes or {}), path)


def arm_columns(rows: Sequence[PooledRow], notes: Mapping[str, str]) -> list[Row]:
    """Return the rows with `ARM_COLUMNS` and more; `notes` as of `write_arms`."""
    return [
        {**row.columns(), "note": notes.get(row.country) if row.arm == TUNED_ARM else None}
        for row in rows
    ]


def arms_rich_table(rows: Sequence[PooledRow], title: str = "Final models") -> Table:
    """Return the rows as a table for the terminal, accuracies in percent."""
    return _table(f"{title}, test users", rows, ("between seeds",))


def ablation_rows(records: Sequence[TrialRecord], part: str) -> list[PooledRow]:
    """Return pooled rows, where there are two countries, then those of each country.

    Raises:
        ValueError: A record is not of the `part`, "validation" or "test", or of other pairs than
            the rest.
    """
    return pooled_rows(gather_cells(records, part), order=ARMS)


def write_ablation(rows: Sequence[PooledRow], path: Path) -> None:
    """Write the rows as CSV, empty cells for what is not known."""
    write_columns(_ABLATION_CSV, map(_with_seeds, rows), path)


def ablation_table(rows: Sequence[PooledRow], part: str) -> Table:
    """Return the rows as a table for the terminal, accuracies in percent."""
    left_out = ("against global", "global", "longer wins")
    return _table(f"Ablation, {part} users", rows, left_out)


def _table(title: str, rows: Sequence[PooledRow], left_out: Sequence[str]) -> Table:
    names = [name for name in _SHOWN if name not in left_out]
    sections = (
        [[_cell(name, row, rows) for name in names] for row in group]
        for _, group in groupby(rows, key=lambda row: row.country)
    )
    return terminal_table(title, names, sections)


def _cell(name: str, row: PooledRow, rows: Sequence[PooledRow]) -> str | int:
    note = note_countries(row, rows) if name == "country" else ""
    return f"{_SHOWN[name](row)} ({note})" if note else _SHOWN[name](row)


def _with_seeds(row: PooledRow) -> Row:
    several = row.by_seed if len(row.by_seed) > 1 else ()
    of_seeds = {"seed_min": min(several, default=None), "seed_max": max(several, default=None)}
    return row.columns() | of_seeds | {"num_seeds": len(row.by_seed)}


def _between_seeds(row: PooledRow) -> str:
    """Return e.g. "sd 1.2, 61.0 to 63.4 (3 seeds)"; "" with one."""
    if row.seed_deviation is None:
        return ""
    return (
        f"sd {100 * row.seed_deviation:.1f}, {100 * min(row.by_seed):.1f} to "
        f"{100 * max(row.by_seed):.1f} ({len(row.by_seed)} seeds)"
    )
