"""The ablation as `ablation.csv` and as a table for the terminal.

In come records of one part of the users, out come pooled rows of them. How far the seeds of an
arm differ stands beside its interval: standard deviation, smallest and largest accuracy.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

from scpo.statistics.wording import format_accuracy, format_difference
from sweeps.ledger.pooled import PooledRow, gather_cells, pooled_rows
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import ARMS, BASELINE
from sweeps.report.arms_table import Columns, format_count, rich_table, write_rows

_CSV: Columns = {
    "country": lambda row: row.country,
    "arm": lambda row: row.arm,
    "accuracy": lambda row: row.accuracy.value,
    "low": lambda row: row.accuracy.low,
    "high": lambda row: row.accuracy.high,
    "seed_sd": lambda row: row.seed_deviation,
    "seed_min": lambda row: _of_seeds(row, min),
    "seed_max": lambda row: _of_seeds(row, max),
    "num_seeds": lambda row: len(row.by_seed),
    "vs_full": lambda row: row.difference(BASELINE).value,
    "vs_full_low": lambda row: row.difference(BASELINE).low,
    "vs_full_high": lambda row: row.difference(BASELINE).high,
    "distinctive": lambda row: row.distinctive.value,
    "distinctive_pairs": lambda row: row.distinctive_pairs,
    "consensus": lambda row: row.consensus.value,
    "consensus_pairs": lambda row: row.consensus_pairs,
    "pairs": lambda row: row.pairs,
    "users": lambda row: row.users,
    "pairs_trained": lambda row: row.pairs_trained,
    "num_countries": lambda row: row.num_countries,
}

_SHOWN: Columns = {
    "country": lambda row: row.country,
    "arm": lambda row: row.arm,
    "accuracy": lambda row: format_accuracy(row.accuracy),
    "between seeds": lambda row: _between_seeds(row),
    "against full": lambda row: format_difference(row.difference(BASELINE)),
    "distinctive": lambda row: (
        f"{format_accuracy(row.distinctive.value)} of {row.distinctive_pairs}"
    ),
    "consensus": lambda row: f"{format_accuracy(row.consensus.value)} of {row.consensus_pairs}",
    "pairs": lambda row: row.pairs,
    "users": lambda row: row.users,
    "pairs trained": lambda row: format_count(row.pairs_trained),
}


def ablation_rows(records: Sequence[TrialRecord], part: str) -> list[PooledRow]:
    """Return pooled rows, where there are two countries, then those of each country.

    Raises:
        ValueError: A record is not of the `part`, "validation" or "test", or of other pairs than
            the rest.
    """
    return pooled_rows(gather_cells(records, part), order=ARMS)


def write_ablation(rows: Sequence[PooledRow], path: Path) -> None:
    """Write the rows as CSV, empty cells for what is not known."""
    write_rows(rows, _CSV, path)


def ablation_table(rows: Sequence[PooledRow], part: str) -> Table:
    """Return the rows as a table for the terminal, accuracies in percent."""
    return rich_table(f"Ablation, {part} users", rows, _SHOWN)


def _of_seeds(row: PooledRow, choose: Callable[[Sequence[float]], float]) -> float | None:
    """Return the smallest or largest accuracy of a seed; None with one seed."""
    return choose(row.by_seed) if len(row.by_seed) > 1 else None


def _between_seeds(row: PooledRow) -> str:
    """Return e.g. "sd 1.2, 61.0 to 63.4 (3 seeds)"; "" with one."""
    if row.seed_deviation is None:
        return ""
    return (
        f"sd {100 * row.seed_deviation:.1f}, {100 * min(row.by_seed):.1f} to "
        f"{100 * max(row.by_seed):.1f} ({len(row.by_seed)} seeds)"
    )
