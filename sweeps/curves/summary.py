"""What the curves amount to: `curve_summary.csv`, one row per country, arm, axis and target.

    area             mean accuracy over log2 pairs, from the fewest to the most (trapezoids)
    pairs to target  where an arm's fitted curve first has the accuracy of `full` with all pairs
    ratio            pairs to target of `full` / pairs to target of the arm: 2 is half the pairs

Nothing is read off a curve outside its points. A target reached nowhere, or by the first point
already, gives a bound and words, never a number; the same holds for resamples, each of which
bounds its ratio from both sides. Intervals are 95 %, from resampled users and seeds; with one
seed, users and the scatter about the fit stand for them.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from scpo.files.csv_files import write_csv
from scpo.statistics.bootstrap import QUICK_RESAMPLES
from sweeps.curves.fits import describe_fit
from sweeps.curves.fitted_curves import (
    AXES,
    Axis,
    Trace,
    area_gain,
    area_with_ends,
    layer_area,
    trace_line,
)
from sweeps.curves.pairs_to_target import Bounds, describe_pairs, describe_ratio, reach_target
from sweeps.curves.points import CurvePoint
from sweeps.curves.resampled_lines import CurveLine, curve_lines, resample_line

BASELINE = "full"
GIVEN = "given"
NO_BASELINE = "no curve of `full` on the same users"


@dataclass(frozen=True)
class SummaryRow:
    """One arm on one axis against one target; accuracies and areas are fractions.

    `target_of` says whose accuracy the target is: `full`, or `given`. What is not known is None:
    intervals with fewer than 2 users, pairs and ratios that are only bounded. `area_vs_full` is
    paired, and given where both arms span the same pairs. `share_reached` is of resamples.
    """

    country: str
    arm: str
    axis: Axis
    num_budgets: int
    num_seeds: int
    users: int
    fewest_pairs: float
    most_pairs: float
    area: float
    area_low: float | None
    area_high: float | None
    area_vs_full: float | None
    area_vs_full_low: float | None
    area_vs_full_high: float | None
    distinctive_area: float | None
    consensus_area: float | None
    shape: str
    fit: str
    aicc: float | None
    target_of: str
    target: float | None
    pairs_to_target: float | None
    pairs_words: str
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    ratio_words: str
    share_reached: float | None


def curve_summary(
    points: Sequence[CurvePoint],
    *,
    target: float | None = None,
    num_resamples: int = QUICK_RESAMPLES,
    seed: int = 0,
) -> list[SummaryRow]:
    """Return the rows of all curves; an arm with one number of pairs has none.

    Args:
        points: As `curve_points` returns them.
        target: A further accuracy to reach, a fraction.
        num_resamples: Bootstrap draws.
        seed: Seed of the draws.

    Raises:
        ValueError: `target` is not an accuracy.
    """
    if target is not None and not 0 < target < 1:
        raise ValueError(f"`0 < target < 1` must hold, but got {target}. For 65 % give 0.65.")
    targets = {BASELINE: None} if target is None else {BASELINE: None, GIVEN: target}
    lines = curve_lines(points)
    traces = {
        (line.country, line.arm): _traces(line, num_resamples=num_resamples, seed=seed)
        for line in lines
    }
    rows = []
    for (country, arm), own in traces.items():
        means = [p for p in points if (p.country, p.arm) == (country, arm) and p.seed is None]
        base = traces.get((country, BASELINE), {})
        for axis, trace in own.items():
            of_points = _of_points(trace, base.get(axis), axis, means)
            for target_of, value in targets.items():
                of_target = _of_target(trace, base.get(axis), value)
                rows.append(SummaryRow(**of_points, target_of=target_of, **of_target))
    return rows


def write_summary(rows: Sequence[SummaryRow], path: Path) -> None:
    """Write the rows as CSV; the columns are the fields of `SummaryRow`."""
    write_csv([field.name for field in fields(SummaryRow)], [asdict(row) for row in rows], path)


def _traces(line: CurveLine, *, num_resamples: int, seed: int) -> dict[Axis, Trace]:
    """Return an arm's curve on each axis that has two numbers of pairs."""
    drawn = None
    if len(line.users) > 1:
        drawn = resample_line(line, num_resamples=num_resamples, seed=seed)
    traces = {axis: trace_line(line, axis, drawn) for axis in AXES}
    return {axis: trace for axis, trace in traces.items() if trace is not None}


def _of_points(
    own: Trace, base: Trace | None, axis: Axis, means: Sequence[CurvePoint]
) -> dict[str, Any]:
    """Return what a row says of the points, the area and the fit."""
    line = own.line
    area, low, high = area_with_ends(own)
    gain, gain_low, gain_high = area_gain(own, base)
    return {
        "country": line.country,
        "arm": line.arm,
        "axis": axis,
        "num_budgets": len(line.budgets),
        "num_seeds": int(line.num_seeds.min()),
        "users": len(line.users),
        "fewest_pairs": float(own.sizes[0]),
        "most_pairs": float(own.sizes[-1]),
        "area": area,
        "area_low": low,
        "area_high": high,
        "area_vs_full": gain,
        "area_vs_full_low": gain_low,
        "area_vs_full_high": gain_high,
        "distinctive_area": layer_area(means, axis, "distinctive"),
        "consensus_area": layer_area(means, axis, "consensus"),
        "shape": own.fit.shape,
        "fit": describe_fit(own.fit),
        "aicc": own.fit.aicc if math.isfinite(own.fit.aicc) else None,
    }


def _of_target(own: Trace, base: Trace | None, target: float | None) -> dict[str, Any]:
    """Return what a row says of reaching a target."""
    reached = reach_target(own, base, target)
    if reached is None:
        names = ("target", "pairs_to_target", "ratio", "ratio_low", "ratio_high", "share_reached")
        return {**dict.fromkeys(names), "pairs_words": NO_BASELINE, "ratio_words": NO_BASELINE}
    is_itself = own.line.arm == BASELINE
    ends = None if is_itself else reached.ratio_ends
    return {
        "target": reached.target,
        "pairs_to_target": _known(reached.pairs),
        "pairs_words": describe_pairs(reached.pairs),
        "ratio": None if is_itself else _known(reached.ratio),
        "ratio_low": ends[0] if ends and ends[0] > 0 else None,
        "ratio_high": ends[1] if ends and math.isfinite(ends[1]) else None,
        "ratio_words": "reference" if is_itself else describe_ratio(reached),
        "share_reached": reached.share_reached,
    }


def _known(bounds: Bounds) -> float | None:
    """Return a number whose bounds meet."""
    return bounds[0] if bounds[0] == bounds[1] else None
