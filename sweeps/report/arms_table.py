"""Final figures by country and arm, on test users: `arms.csv` and a terminal table.

In come the `final` records of a run, out come pooled rows of them: with both layers, the global
model and "longer response wins" on the same pairs, and paired differences against `full` and the
global model.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from scpo.statistics.wording import format_accuracy, format_difference
from sweeps.ledger.pooled import PooledRow, gather_cells, pooled_rows, write_columns
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import BASELINE, GLOBAL, TUNED_ARM

_CSV = """
    country arm accuracy low high pairs users distinctive distinctive_pairs consensus
    consensus_pairs global_accuracy length_accuracy vs_full vs_full_low vs_full_high vs_global
    vs_global_low vs_global_high pairs_trained num_seeds num_countries country_mean note
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


def arm_rows(records: Sequence[TrialRecord]) -> list[PooledRow]:
    """Return the rows of the table: pooled first where there are two countries, then by country.

    Raises:
        ValueError: A final trial is not evaluated on test users, or on other users than the
            rest of its country.
    """
    final = [record for record in records if record.purpose == "final"]
    final.sort(key=lambda record: record.country)
    return pooled_rows(gather_cells(final, "test"), bases=(BASELINE, GLOBAL))


def write_arms(
    rows: Sequence[PooledRow], path: Path, notes: Mapping[str, str] | None = None
) -> None:
    """Write the rows as CSV, empty cells for what is not known.

    `notes` say, by country, what stands beside the figures of the searched setting.
    """
    found = [
        {**row.columns(), "note": (notes or {}).get(row.country) if row.arm == TUNED_ARM else None}
        for row in rows
    ]
    write_columns(_CSV, found, path)


def arms_rich_table(rows: Sequence[PooledRow]) -> Table:
    """Return the rows as a table for the terminal, accuracies in percent."""
    shown = [name for name in _SHOWN if name != "between seeds"]
    return rich_table("Final models, test users", rows, shown)


def rich_table(title: str, rows: Sequence[PooledRow], names: Sequence[str]) -> Table:
    """Return columns of rows as a table for the terminal, countries apart."""
    table = Table(title=title, title_justify="left")
    for name in names:
        table.add_column(name, justify="left" if name in ("country", "arm") else "right")
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        is_last = following is not None and following.country != row.country
        cells = [escape(str(_SHOWN[name](row))) for name in names]
        table.add_row(*cells, end_section=is_last)
    return table


def _between_seeds(row: PooledRow) -> str:
    """Return e.g. "sd 1.2, 61.0 to 63.4 (3 seeds)"; "" with one."""
    if row.seed_deviation is None:
        return ""
    return (
        f"sd {100 * row.seed_deviation:.1f}, {100 * min(row.by_seed):.1f} to "
        f"{100 * max(row.by_seed):.1f} ({len(row.by_seed)} seeds)"
    )
