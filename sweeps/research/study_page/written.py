"""What a study leaves beside its data sets' folders: the page, and every row as CSV."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scpo.files.atomic import write_text
from scpo.files.csv_files import write_csv
from sweeps.research.study_page.rows import BASELINES, Interval, StudyRow
from sweeps.research.study_page.study_page import DataSetResult, study_page

FIGURES = ("accuracy", "distinctive", "consensus")  # fields of a row that have an interval


def write_results(
    results: Sequence[DataSetResult],
    run: Path,
    page: Path,
    missing: Sequence[str],
    file: Path,
) -> None:
    """Write the page and, into the run's folder, `study.csv` with every row."""
    machine = (
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, whatever else ran on it at the "
        "time; wall times are of this machine and include that."
    )
    text = study_page(results, missing=missing, machine=machine, config=str(file))
    write_text(page, text)
    lines = [_csv_line(result, row) for result in results for row in result.rows]
    columns = dict.fromkeys(key for line in lines for key in line)
    write_csv(list(columns), lines, run / "study.csv")


def _csv_line(result: DataSetResult, row: StudyRow) -> dict[str, Any]:
    """Return a row as plain columns."""
    line: dict[str, Any] = {"data_set": result.name, "unit": result.unit}
    for key, value in vars(row).items():
        if key == "against":
            continue
        line |= _ends(key, value) if key in FIGURES else {key: value}
    for other in BASELINES:
        found = row.against.get(other)
        line |= _ends(f"vs_{other}", found)
    return line


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    """Return the columns of an interval."""
    if interval is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
