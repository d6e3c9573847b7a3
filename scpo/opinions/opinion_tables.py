"""Opinion records as tables: for files (CSV, Parquet) and for people."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from rich.table import Table

from scpo.data.sources.global_opinions import SurveyQuestion
from scpo.data.sources.pairs_file import hash_texts
from scpo.files.atomic import atomic_path
from scpo.files.csv_files import quote_formulas
from scpo.opinions.answers import METRICS
from scpo.opinions.opinion_scores import Judged, OpinionRecord, ScoredRow
from scpo.statistics.bootstrap import Interval
from scpo.text.terminal_table import terminal_table

TITLES = {
    "similarity_base2": "1 - JS distance, base 2",
    "similarity_natural": "natural log",
    "total_variation": "total variation",
}


def write_opinions(records: Sequence[OpinionRecord], path: Path) -> None:
    """Write records as CSV: one line each, a figure and the two ends of its interval."""
    lines = []
    for record in records:
        line = dict(vars(record))
        figures = {**line.pop("figures"), "against_global": line.pop("against_reference")}
        for name, figure in figures.items():
            line |= (figure or Interval(None, None, None, 0)).columns(name, f"{name}_")
        lines.append(line)
    with atomic_path(path) as temporary:
        pc.write_csv(pa.Table.from_pylist([*map(quote_formulas, lines)]), temporary)


def write_answers(
    rows: Sequence[ScoredRow], judged: Judged, questions: Sequence[SurveyQuestion], path: Path
) -> None:
    """Write each row's score of each judged answer as Parquet, at full precision.

    Answers that a row does not apply to are left out. A question, which `judged` counts through,
    stands by a hash of its text and options: the survey's licence is its own.
    """
    keys = np.array([hash_texts(item.question, *item.options)[:16] for item in questions])
    columns: dict[str, Any] = {
        "row": np.repeat([row.name for row in rows], len(judged.question)),
        "country": np.tile(np.array(judged.countries)[judged.country], len(rows)),
        "question": np.tile(keys[judged.question], len(rows)),
    }
    scores = np.concatenate([row.scores for row in rows])
    columns |= dict(zip(METRICS, scores.T, strict=True))
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns).filter(~np.isnan(scores[:, 0])), temporary)


def overall_table(records: Sequence[OpinionRecord]) -> Table:
    """Return a table of every row over all countries, with intervals."""
    columns = ("row", "mean over", *TITLES.values(), "against global", "questions")
    lines = [
        (
            record.row,
            record.over,
            *(format_score(record.figures[name]) for name in METRICS),
            format_score(record.against_reference, "+"),
            f"{record.questions:,}",
        )
        for record in records
        if record.over != "country"
    ]
    sections = (group for _, group in groupby(lines, key=lambda line: line[0]))
    return terminal_table("Nearness to the survey", columns, sections, left=columns[:2])


def countries_table(records: Sequence[OpinionRecord]) -> Table:
    """Return a table of base-2 similarity, a line a country and a column a row."""
    by_cell = {(r.country, r.row): r for r in records if r.over == "country"}
    names = list(dict.fromkeys(row for _, row in by_cell))
    lines = []
    for country in sorted({str(country) for country, _ in by_cell}):
        found = [by_cell.get((country, name)) for name in names]
        number = max(record.questions for record in found if record)
        cells = [f"{r.figures[METRICS[0]].value:z.3f}" if r else "-" for r in found]
        lines.append((country, f"{number:,}", *cells))
    title = f"{TITLES[METRICS[0]]}, by country"
    return terminal_table(title, ("country", "questions", *names), [lines])


def format_score(figure: Interval | None, sign: str = "") -> str:
    """Return e.g. "0.712 (0.705 to 0.719)"; "-" for none, what rounds to 0 without a sign.

    With `sign` "+" it is a difference, and its numbers show theirs.
    """
    if figure is None or figure.value is None:
        return "-"
    words = [
        "0.000" if abs(number) < 0.0005 else f"{number:{sign}.3f}"
        for number in (figure.value, figure.low, figure.high)
        if number is not None
    ]
    return f"{words[0]} ({words[1]} to {words[2]})" if len(words) == 3 else words[0]
