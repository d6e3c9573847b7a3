"""A probe as `probe.csv` and as a table for the terminal.

The CSV has every setting of every country, accuracies as fractions 0..1; the table a few points
of each front, in percent.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from scpo.files.csv_files import write_csv
from scpo.method.arms import select_setting
from sweeps.probe.probe import NUM_POINTS, ProbeResult, front_settings


def write_probe(results: Sequence[ProbeResult], path: Path) -> None:
    """Write every setting of every country as CSV, whole or not at all."""
    rows = [_row(result, number) for result in results for number in range(len(result.settings))]
    write_csv(list(rows[0]), rows, path)


def probe_table(results: Sequence[ProbeResult]) -> Table:
    """Return points of each country's front as a table for the terminal."""
    table = Table(
        title="Fronts of linear heads, validation users",
        title_justify="left",
        caption="The best of many heads on the users that chose them: optimistic.",
        caption_justify="left",
    )
    table.add_column("country")
    for name in ("pairs", "strength", "L2", "steps", "accuracy", "distinctive", "global"):
        table.add_column(name, justify="right")
    for result in results:
        numbers = front_settings(result, num_points=NUM_POINTS).tolist()
        if not numbers:
            table.add_row(result.country, "none beats the global model")
        for number in numbers:
            row = _row(result, number)
            beta = "" if row["beta"] is None else f" (beta {row['beta']:.2g})"
            table.add_row(
                result.country,
                f"{row['pairs_trained']} ({row['retention']:.0%}, tau {row['tau']:.2g})",
                f"{row['strength']:.2g}{beta}",
                f"{row['l2']:.1e}",
                f"{row['steps']}",
                f"{row['accuracy']:.1%}",
                "" if row["distinctive"] is None else f"{row['distinctive']:.1%}",
                f"{result.global_accuracy:.1%}",
            )
        table.add_section()
    return table


def _row(result: ProbeResult, number: int) -> dict[str, Any]:
    """Return one setting's figures by column; None for no weighting and for no such pairs."""
    settings, judged = result.settings, result.judged
    retention, strength = float(settings.retention[number]), float(settings.strength[number])
    selection = select_setting(result.reference_margin, retention=retention, strength=strength)
    distinctive = float(judged.distinctive[number])
    return {
        "country": result.country,
        "retention": retention,
        "tau": selection.tau,
        "strength": strength,
        "beta": selection.beta,
        "l2": float(settings.l2[number]),
        "steps": int(settings.steps[number]),
        "pairs_trained": int(result.pairs_trained[number]),
        "effective_pairs": float(result.effective_pairs[number]),
        "accuracy": float(judged.accuracy[number]),
        "distinctive": None if np.isnan(distinctive) else distinctive,
        "consensus_drop": float(judged.consensus_drop[number]),
        "loss": float(judged.loss[number]),
        "feasible": bool(result.feasible[number]),
        "on_front": bool(result.on_front[number]),
    }
