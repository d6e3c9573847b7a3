"""STUDY.md: rows of all data sets come in, a page in Markdown goes out.

Nothing on it is written by hand but what the configuration says of the data: every figure and
every sentence with one is made from the rows. The page's form is `STUDY.md.j2`.
"""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scpo.arrays import Row
from scpo.files.atomic import may_write_over, write_text
from scpo.statistics.wording import format_difference, open_templates
from sweeps.ledger.pooled import PooledRow, write_columns
from sweeps.ledger.words import BASELINE
from sweeps.research.study_page import paragraphs
from sweeps.research.study_page.rows import STUDY_BASELINES, DataSetResult
from sweeps.research.study_page.study_claims import CLAIMS, judge_claims

_TITLE = "# Study: "  # the first line of STUDY.md.j2
_CSV = [
    *("data_set", "unit", "country", "arm", "accuracy", "accuracy_low", "accuracy_high"),
    *("seed_sd", "num_seeds", "distinctive", "distinctive_low", "distinctive_high"),
    *("distinctive_pairs", "consensus", "consensus_low", "consensus_high", "consensus_pairs"),
    *("pairs", "users", "pairs_trained", "num_countries"),
    *(f"vs_{base}{end}" for base in STUDY_BASELINES for end in ("", "_low", "_high")),
]


def write_results(
    results: Sequence[DataSetResult],
    run: Path,
    page: Path,
    missing: Sequence[str],
    file: Path,
    *,
    note: str = "",
) -> None:
    """Write the page of what is done and, into the run's folder, `study.csv` with every row.

    `missing` are titles of data sets that are not done; the page's commands name the configuration
    `file`, and `note` is the study's own.
    """
    machine = (
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, whatever else ran on it at the "
        "time; wall times are of this machine and include that."
    )
    about = {"missing": missing, "machine": machine, "config": str(file), "note": note}
    write_text(page, study_page(results, about))
    rows = [_columns(result, row) for result in results for row in result.rows]
    write_columns(_CSV if rows else [], rows, run / "study.csv")


def refuse_other_page(page: Path) -> None:
    """Refuse to write over a file that no study wrote.

    Raises:
        ValueError: It is one, or a folder.
    """
    if not may_write_over(page, _TITLE):
        raise ValueError(
            f"{page} is no page of a study, so it is not written over. Choose another --page."
        )


def study_page(results: Sequence[DataSetResult], about: Mapping[str, Any]) -> str:
    """Return the page of the data sets that are done.

    `about` holds `missing`, titles of the others, `machine`, `config` and `note`.
    """
    environment = open_templates("sweeps.research", "study_page")
    environment.filters["against"] = _against
    real = [result for result in results if not result.is_simulated]
    judged = judge_claims({result.title: result.rows for result in real})
    return environment.get_template("STUDY.md.j2").render(
        results=results,
        real=real,
        **about,
        claims=CLAIMS,
        judged=judged,
        cells={(one.claim, one.data_set): one for one in judged},
        held=paragraphs.what_held(judged),
        did_not=paragraphs.what_did_not(judged),
        cannot_say=paragraphs.what_cannot_be_said(judged, real),
    )


def _columns(result: DataSetResult, row: PooledRow) -> Row:
    columns = row.columns()
    ends = {"accuracy_low": columns["low"], "accuracy_high": columns["high"]}
    return {"data_set": result.name, "unit": result.unit, **columns, **ends}


def _against(row: PooledRow | None, other: str = BASELINE) -> str:
    """Return a paired difference in points, bold where its interval leaves out 0."""
    if row is None:
        return ""
    difference = row.difference(other)
    words = format_difference(difference)
    return f"**{words}**" if difference.sign else words
