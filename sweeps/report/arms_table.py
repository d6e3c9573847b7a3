"""Final figures by country and arm, on test users: `arms.csv` and a terminal table.

In come the `final` records of a run, out come pooled rows of them: with both layers, the global
model and "longer response wins" on the same pairs, and paired differences against `full` and the
global model.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from scpo.files.csv_files import write_csv
from scpo.statistics.wording import format_accuracy, format_difference
from sweeps.ledger.pooled import PooledRow, gather_cells, pooled_rows
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import BASELINE, GLOBAL

Columns = Mapping[str, Callable[[PooledRow], object]]

_CSV: Columns = {
    "country": lambda row: row.country,
    "arm": lambda row: row.arm,
    "accuracy": lambda row: row.accuracy.value,
    "low": lambda row: row.accuracy.low,
    "high": lambda row: row.accuracy.high,
    "pairs": lambda row: row.pairs,
    "users": lambda row: row.users,
    "distinctive": lambda row: row.distinctive.value,
    "distinctive_pairs": lambda row: row.distinctive_pairs,
    "consensus": lambda row: row.consensus.value,
    "consensus_pairs": lambda row: row.consensus_pairs,
    "global_accuracy": lambda row: row.global_accuracy,
    "length_accuracy": lambda row: row.length_accuracy,
    "vs_full": lambda row: row.difference(BASELINE).value,
    "vs_full_low": lambda row: row.difference(BASELINE).low,
    "vs_full_high": lambda row: row.difference(BASELINE).high,
    "vs_global": lambda row: row.difference(GLOBAL).value,
    "vs_global_low": lambda row: row.difference(GLOBAL).low,
    "vs_global_high": lambda row: row.difference(GLOBAL).high,
    "pairs_trained": lambda row: row.pairs_trained,
    "num_seeds": lambda row: row.num_seeds,
    "num_countries": lambda row: row.num_countries,
    "country_mean": lambda row: row.country_mean,
}

_SHOWN: Columns = {
    "country": lambda row: row.country,
    "arm": lambda row: row.arm,
    "accuracy": lambda row: format_accuracy(row.accuracy),
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
    "pairs trained": lambda row: format_count(row.pairs_trained),
}


def arm_rows(records: Sequence[TrialRecord]) -> list[PooledRow]:
    """Return the rows of the table: pooled first where there are two countries, then by country.

    Raises:
        ValueError: A final trial is not evaluated on test users, or on other users than the
            rest of its country.
    """
    final = [record for record in records if record.purpose == "final"]
    final.sort(key=lambda record: record.country)
    return pooled_rows(gather_cells(final, "test"), bases=(BASELINE, GLOBAL))


def write_arms(rows: Sequence[PooledRow], path: Path) -> None:
    """Write the rows as CSV, empty cells for what is not known."""
    write_rows(rows, _CSV, path)


def arms_rich_table(rows: Sequence[PooledRow]) -> Table:
    """Return the rows as a table for the terminal, accuracies in percent."""
    return rich_table("Final models, test users", rows, _SHOWN)


def write_rows(rows: Sequence[PooledRow], columns: Columns, path: Path) -> None:
    """Write columns of rows as CSV."""
    lines = [{name: read(row) for name, read in columns.items()} for row in rows]
    write_csv(list(columns), lines, path)


def rich_table(title: str, rows: Sequence[PooledRow], columns: Columns) -> Table:
    """Return columns of rows as a table for the terminal, countries apart."""
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, justify="left" if name in ("country", "arm") else "right")
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        is_last = following is not None and following.country != row.country
        cells = [escape(str(read(row))) for read in columns.values()]
        table.add_row(*cells, end_section=is_last)
    return table


def format_count(count: float | None) -> str:
    """Return a number of pairs; "" where it is not known."""
    return "" if count is None else f"{count:.0f}"
