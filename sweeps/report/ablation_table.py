"""The ablation as `ablation.csv` and as a table for the terminal.

In come records of one part of the users, out come pooled rows of them. How far the seeds of an
arm differ stands beside its interval: standard deviation, smallest and largest accuracy.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from scpo.arrays import Row
from sweeps.ledger.pooled import PooledRow, gather_cells, pooled_rows, write_columns
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import ARMS
from sweeps.report.arms_table import rich_table

_CSV = """
    country arm accuracy low high seed_sd seed_min seed_max num_seeds vs_full vs_full_low
    vs_full_high distinctive distinctive_pairs consensus consensus_pairs pairs users
    pairs_trained num_countries
""".split()
_SHOWN = (
    *("country", "arm", "accuracy", "between seeds", "against full", "distinctive", "consensus"),
    *("pairs", "users", "pairs trained"),
)


def ablation_rows(records: Sequence[TrialRecord], part: str) -> list[PooledRow]:
    """Return pooled rows, where there are two countries, then those of each country.

    Raises:
        ValueError: A record is not of the `part`, "validation" or "test", or of other pairs than
            the rest.
    """
    return pooled_rows(gather_cells(records, part), order=ARMS)


def write_ablation(rows: Sequence[PooledRow], path: Path) -> None:
    """Write the rows as CSV, empty cells for what is not known."""
    write_columns(_CSV, map(_columns, rows), path)


def ablation_table(rows: Sequence[PooledRow], part: str) -> Table:
    """Return the rows as a table for the terminal, accuracies in percent."""
    return rich_table(f"Ablation, {part} users", rows, _SHOWN)


def _columns(row: PooledRow) -> Row:
    several = row.by_seed if len(row.by_seed) > 1 else ()
    of_seeds = {"seed_min": min(several, default=None), "seed_max": max(several, default=None)}
    return row.columns() | of_seeds | {"num_seeds": len(row.by_seed)}
