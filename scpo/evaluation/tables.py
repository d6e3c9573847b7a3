"""Every table of an evaluation, made from the models' rewards alone and written to a folder.

In come the rewards of all models on the pairs of several countries; out come the tables below,
as `evaluation.json`, one CSV a table, and `pairs.parquet` with every reward at full precision.

    accuracy         by country, arm and layer, with intervals by user, counts and ties
    paired           each arm against global, full and length on the same pairs, with McNemar
    matrix           every model on every country's pairs
    worst            the country that a model, or an arm at home, serves worst
    movement         rank correlation with the global model's rewards
    knob             accuracy by layer against the steering weight s; knob_choice: the s that
                     validation prefers
    mixtures         several countries' models mixed with equal weights
    calibration      ECE, Brier, NLL; reliability: the bins of the plot
    length_deciles   accuracy by difference of lengths; length_share: what length explains
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

from scpo.arrays import FloatArray, Row
from scpo.evaluation.cross_country import country_matrix, movements, worst_countries
from scpo.evaluation.pair_scores import GLOBAL, LENGTH, PairScores, write_pairs
from scpo.evaluation.panels import Panel, accuracy_rows, build_panels, paired_rows
from scpo.evaluation.steering import choice_rows, knob_rows, mixture_rows
from scpo.files.atomic import atomic_path, write_json
from scpo.files.csv_files import quote_formulas
from scpo.files.provenance import installed_versions, source_commit, utc_now
from scpo.statistics.bootstrap import NUM_RESAMPLES
from scpo.statistics.calibration import calibration, reliability_table
from scpo.statistics.length_bias import length_deciles, length_share

VALIDATION = "validation"

Tables = dict[str, list[Row]]


def evaluate_models(
    scores: Sequence[PairScores],
    out: Path | None = None,
    *,
    part: str = "test",
    about: Mapping[str, Any] | None = None,
) -> Tables:
    """Return every table of an evaluation, rows of plain values, and write them to a folder `out`.

    Args:
        scores: Of each country, the rewards of all models on its pairs: "global" must be among
            them; "length", models for all ("full") and countries' own ("Mexico/scpo") may be.
            Validation pairs beside those of `part` choose the steering weight.
        out: Folder; None to write nothing.
        part: Whose pairs judge. Look at "test" once.
        about: Plain values for `evaluation.json`: what the models are and where they lie.

    Raises:
        ValueError: A country comes twice, lacks pairs of the part or the global model, or has
            two models of an arm.
    """
    countries = [each.country for each in scores]
    if len(set(countries)) < len(countries) or not countries:
        raise ValueError(f"Each country must come once, and one at least, but got {countries}.")
    judged = [each.in_part(part) for each in scores]
    tables = _tables(judged) | _steering_tables(scores, judged, part)
    if out is not None:
        write_pairs(scores, out / "pairs.parquet")
        for name, rows in tables.items():
            _write_csv(rows, out / f"{name}.csv")
        made = {"versions": installed_versions(), "commit": source_commit(), "time": utc_now()}
        settings = {"part": part, "num_resamples": NUM_RESAMPLES, "seed": 0}
        whole = {**settings, **(about or {}), **made, "tables": tables}
        write_json(out / "evaluation.json", whole)  # last
    return tables


def _write_csv(rows: list[Row], path: Path) -> None:
    """Write a table, or remove an earlier evaluation's where it has no row."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        csv.write_csv(pa.Table.from_pylist([*map(quote_formulas, rows)]), temporary)


def _tables(judged: Sequence[PairScores]) -> Tables:
    panels = build_panels(judged)
    cells = country_matrix(judged)
    return {
        "accuracy": [row for panel in panels for row in accuracy_rows(panel)],
        "paired": [row for panel in panels for row in paired_rows(panel)],
        "matrix": cells,
        "worst": worst_countries(cells),
        "movement": movements(judged),
        # length has no probabilities, and the global model no gain over itself
        "calibration": _arm_rows(panels, lambda _, margin: [calibration(margin)], LENGTH),
        "reliability": _arm_rows(
            panels, lambda panel, margin: reliability_table(margin, panel.user), LENGTH
        ),
        "length_deciles": _arm_rows(
            panels,
            lambda panel, margin: length_deciles(margin, panel.length_difference, panel.user),
        ),
        "length_share": _arm_rows(
            panels,
            lambda panel, margin: [
                length_share(margin, panel.margins[GLOBAL], panel.length_difference, panel.user)
            ],
            GLOBAL,
        ),
    }


def _arm_rows(
    panels: Sequence[Panel],
    rows_of: Callable[[Panel, FloatArray], list[Row]],
    without: str | None = None,
) -> list[Row]:
    """Return the rows of each country and arm but one, from its margins."""
    return [
        {"country": panel.country, "arm": arm, **row}
        for panel in panels
        for arm, margin in panel.margins.items()
        if arm != without
        for row in rows_of(panel, margin)
    ]


def _steering_tables(
    scores: Sequence[PairScores], judged: Sequence[PairScores], part: str
) -> Tables:
    """Return the tables of steering weights; choices only of countries with validation pairs."""
    by_part = {part: build_panels(judged)}
    choosing = [each.in_part(VALIDATION) for each in scores if np.any(each.part == VALIDATION)]
    if choosing and part != VALIDATION:
        by_part[VALIDATION] = build_panels(choosing)
    validation = by_part[VALIDATION] if part != VALIDATION and choosing else []
    return {
        "knob": [
            row
            for name, panels in by_part.items()
            for each in panels
            for row in knob_rows(each, name)
        ],
        "knob_choice": choice_rows(validation, by_part[part]),
        "mixtures": mixture_rows(judged),
    }
