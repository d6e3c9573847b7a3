"""What the curves amount to: `curve_summary.csv`, one row per country, arm, axis and target.

    area             mean accuracy over log2 pairs, from the fewest to the most (trapezoids)
    pairs to target  where an arm's fitted curve first has what that of `full` ends with
    ratio            pairs to target of `full` / pairs to target of the arm: 2 is half the pairs

Nothing is read off a curve outside its points. A target reached nowhere, or by the first point
already, gives a bound and words, never a number; the same holds for resamples, each of which
bounds its ratio from both sides. Intervals are 95 %, from resampled users and seeds; with one
seed, users and the scatter about the fit stand for them.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from scpo.arrays import Row
from scpo.files.csv_files import write_csv
from sweeps.curves.fits import describe_fit
from sweeps.curves.fitted_curves import (
    Trace,
    area_gain,
    area_interval,
    layer_area,
    trace_line,
)
from sweeps.curves.pairs_to_target import Bounds, describe_pairs, describe_ratio, reach_target
from sweeps.curves.points import AXES, Axis, CurvePoint
from sweeps.curves.resampled_lines import NUM_REFITS, CurveLine, curve_lines, resample_line
from sweeps.ledger.words import BASELINE

GIVEN = "given"
NO_BASELINE = "no curve of `full` on the same users"

_COLUMNS = """
    country arm axis num_budgets num_seeds users fewest_pairs most_pairs area area_low area_high
    area_vs_full area_vs_full_low area_vs_full_high distinctive_area consensus_area shape fit aicc
    target_of target pairs_to_target pairs_words ratio ratio_low ratio_high ratio_words
    share_reached
""".split()


def curve_summary(
    points: Sequence[CurvePoint],
    *,
    target: float | None = None,
    num_resamples: int = NUM_REFITS,
    seed: int = 0,
) -> list[Row]:
    """Return the rows of all curves; an arm with one number of pairs has none.

    Accuracies and areas are fractions. `target` is a further accuracy to reach; the column
    `target_of` says whose accuracy the target is: `full`, or `given`. What is not known is None:
    intervals with fewer than 2 users, pairs and ratios that are only bounded. `area_vs_full` is
    paired, and given where both arms span the same pairs. `share_reached` is of resamples.

    Raises:
        ValueError: `target` is not an accuracy.
    """
    if target is not None and not 0 < target < 1:
        raise ValueError(f"`0 < target < 1` must hold, but got {target}. For 65 % give 0.65.")
    targets = {BASELINE: None} if target is None else {BASELINE: None, GIVEN: target}
    traces = {
        (line.country, line.arm): _traces(line, num_resamples=num_resamples, seed=seed)
        for line in curve_lines(points)
    }
    rows = []
    for (country, arm), own in traces.items():
        means = [p for p in points if (p.country, p.arm) == (country, arm) and p.seed is None]
        for axis, trace in own.items():
            base = traces.get((country, BASELINE), {}).get(axis)
            of_curve = _describe_curve(trace, base, axis, means)
            for target_of, value in targets.items():
                of_target = _describe_target(trace, base, value)
                rows.append({**of_curve, "target_of": target_of, **of_target})
    return rows


def write_summary(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as CSV, empty cells for what is not known."""
    write_csv(_COLUMNS, rows, path)


def _traces(line: CurveLine, *, num_resamples: int, seed: int) -> dict[Axis, Trace]:
    drawn = None
    if len(line.users) > 1:
        drawn = resample_line(line, num_resamples=num_resamples, seed=seed)
    traces = {axis: trace_line(line, axis, drawn) for axis in AXES}
    return {axis: trace for axis, trace in traces.items() if trace is not None}


def _describe_curve(
    own: Trace, base: Trace | None, axis: Axis, means: Sequence[CurvePoint]
) -> Row:
    line = own.line
    return {
        "country": line.country,
        "arm": line.arm,
        "axis": axis,
        "num_budgets": len(line.budgets),
        "num_seeds": int(line.num_seeds.min()),
        "users": len(line.users),
        "fewest_pairs": float(own.sizes[0]),
        "most_pairs": float(own.sizes[-1]),
        **area_interval(own).columns("area", "area_"),
        **area_gain(own, base).columns("area_vs_full", "area_vs_full_"),
        "distinctive_area": layer_area(means, axis, "distinctive"),
        "consensus_area": layer_area(means, axis, "consensus"),
        "shape": own.fit.shape,
        "fit": describe_fit(own.fit),
        "aicc": own.fit.aicc if math.isfinite(own.fit.aicc) else None,
    }


def _describe_target(own: Trace, base: Trace | None, target: float | None) -> Row:
    row = dict.fromkeys(_COLUMNS[_COLUMNS.index("target") :])
    reached = reach_target(own, base, target)
    if reached is None:
        return {**row, "pairs_words": NO_BASELINE, "ratio_words": NO_BASELINE}
    row |= {
        "target": reached.target,
        "pairs_to_target": _known(reached.pairs),
        "pairs_words": describe_pairs(reached.pairs),
        "ratio_words": "reference",
        "share_reached": reached.share_reached,
    }
    if own.line.arm != BASELINE:
        low, high = reached.ratio_ends or (0.0, math.inf)
        row |= {
            "ratio": _known(reached.ratio),
            "ratio_low": low if low > 0 else None,
            "ratio_high": high if math.isfinite(high) else None,
            "ratio_words": describe_ratio(reached),
        }
    return row


def _known(bounds: Bounds) -> float | None:
    return bounds[0] if bounds[0] == bounds[1] else None
