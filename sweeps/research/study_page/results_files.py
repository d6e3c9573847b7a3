"""The files of a study beside its data sets' folders: the page, and every row as CSV."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from scpo.arrays import Row
from scpo.files.atomic import write_text
from sweeps.ledger.pooled import PooledRow, write_columns
from sweeps.research.study_page.rows import STUDY_BASELINES
from sweeps.research.study_page.study_page import DataSetResult, study_page

_CSV = [
    *("data_set", "unit", "country", "arm", "accuracy", "accuracy_low", "accuracy_high"),
    *("seed_sd", "num_seeds", "distinctive", "distinctive_low", "distinctive_high"),
    *("distinctive_pairs", "consensus", "consensus_low", "consensus_high", "consensus_pairs"),
    *("pairs", "users", "pairs_trained", "num_countries"),
    *(f"vs_{base}{end}" for base in STUDY_BASELINES for end in ("", "_low", "_high")),
]


def write_results(
    results: Sequence[DataSetResult], run: Path, page: Path, missing: Sequence[str], file: Path
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
    rows = [_columns(result, row) for result in results for row in result.rows]
    write_columns(_CSV if rows else [], rows, run / "study.csv")


def _columns(result: DataSetResult, row: PooledRow) -> Row:
    columns = row.columns()
    ends = {"accuracy_low": columns["low"], "accuracy_high": columns["high"]}
    return {"data_set": result.name, "unit": result.unit, **columns, **ends}
