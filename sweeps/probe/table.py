"""A probe as `probe.csv` and as a table for the terminal.

The CSV has every setting of every country, accuracies as fractions 0..1; the table a few points
of each front, in percent.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from scpo.method.arms import select_setting
from scpo.statistics.wording import format_accuracy
from scpo.text.counts import format_below, format_number
from scpo.text.terminal_table import terminal_table
from sweeps.ledger.pooled import write_columns
from sweeps.probe.probe import NUM_POINTS, ProbeResult, front_settings

_OF_RESULT = ("pairs_trained", "effective_pairs", "feasible", "on_front")
_CSV = """
    country retention tau strength beta user_strength l2 steps pairs_trained effective_pairs
    accuracy distinctive consensus_drop loss feasible on_front
""".split()


def write_probe(results: Sequence[ProbeResult], path: Path) -> None:
    """Write every setting of every country as CSV, whole or not at all."""
    rows = [_row(result, number) for result in results for number in range(len(result.settings))]
    write_columns(_CSV, rows, path)


def probe_table(results: Sequence[ProbeResult]) -> Table:
    """Return points of each country's front as a table for the terminal."""
    columns = ("pairs", "strength", "of users", "L2", "steps", "accuracy", "distinctive", "global")
    return terminal_table(
        "Fronts of linear heads, validation users",
        ("country", *columns),
        map(_front_lines, results),
        caption="The best of many heads on the users that chose them: optimistic.",
    )


def _front_lines(result: ProbeResult) -> Iterator[tuple[object, ...]]:
    numbers = front_settings(result, num_points=NUM_POINTS).tolist()
    if not numbers:
        yield result.country, "none beats the global model"
    for number in numbers:
        row = _row(result, number)
        beta = "" if row["beta"] is None else f" (beta {format_number(row['beta'], 2)})"
        kept = format_below(100 * row["retention"], 2, whole=100)
        yield (
            result.country,
            f"{row['pairs_trained']} ({kept} %, tau {format_below(row['tau'], 2, whole=1)})",
            f"{row['strength']:.2g}{beta}",
            f"{row['user_strength']:.2g}",
            f"{row['l2']:.1e}",
            row["steps"],
            format_accuracy(row["accuracy"]),
            format_accuracy(row["distinctive"], missing=""),
            format_accuracy(result.global_accuracy),
        )


def _row(result: ProbeResult, number: int) -> dict[str, Any]:
    """Return one setting's figures by column; None for no weighting and for no such pairs."""
    columns = {**vars(result.settings), **vars(result.judged)}
    columns |= {name: getattr(result, name) for name in _OF_RESULT}
    row = {name: column[number].item() for name, column in columns.items()}
    selection = select_setting(
        result.reference_margin, retention=row["retention"], strength=row["strength"]
    )
    if math.isnan(row["distinctive"]):
        row["distinctive"] = None
    return {"country": result.country, "tau": selection.tau, "beta": selection.beta, **row}
