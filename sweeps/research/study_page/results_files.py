"""The files of a study beside its data sets' folders: the page, and every row as CSV."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scpo.files.atomic import write_text
from scpo.files.csv_files import write_csv
from sweeps.ledger.pooled import PooledRow
from sweeps.research.study_page.rows import STUDY_BASELINES
from sweeps.research.study_page.study_page import DataSetResult, study_page


def write_results(
    results: Sequence[DataSetResult],
    run: Path,
    page: Path,
    missing: Sequence[str],
    file: Path,
) -> None:
    """Write the page of what is done and, into the run's folder, `study.csv` with every row.

    `missing` are titles of data sets that are not done; the page's commands name the configuration
    `file`.
    """
    machine = (
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, whatever else ran on it at the "
        "time; wall times are of this machine and include that."
    )
    write_text(page, study_page(results, missing=missing, machine=machine, config=str(file)))
    lines = [
        {"data_set": result.name, "unit": result.unit, **_columns(row)}
        for result in results
        for row in result.rows
    ]
    write_csv(list(lines[0]) if lines else [], lines, run / "study.csv")


def _columns(row: PooledRow) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "country": row.country,
        "arm": row.arm,
        **row.accuracy.columns("accuracy", "accuracy_"),
        "seed_sd": row.seed_deviation,
        "num_seeds": row.num_seeds,
        **row.distinctive.columns("distinctive", "distinctive_"),
        "distinctive_pairs": row.distinctive_pairs,
        **row.consensus.columns("consensus", "consensus_"),
        "consensus_pairs": row.consensus_pairs,
        "pairs": row.pairs,
        "users": row.users,
        "pairs_trained": row.pairs_trained,
        "num_countries": row.num_countries,
    }
    for base in STUDY_BASELINES:
        columns |= row.difference(base).columns(f"vs_{base}", f"vs_{base}_")
    return columns
