"""Data-efficiency curves as `curves.csv`, SVG and PNG.

In come the points of `curve_points`. Every pair must be labelled before the filter can drop it,
so the figure has two axes: pairs trained on (a saving of training) and pairs labelled (what
annotation costs). Markers are means over seeds and small dots the seeds, bands 95 % intervals by
user, lines the fits of `curve_fits`, dashed from the last point to twice its pairs.
"""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scpo.files.csv_files import write_csv
from scpo.files.figure_style import MUTED, drawing_style, save_figure
from sweeps.curves.fitted_curves import AXES, Axis, trace_line
from sweeps.curves.output.curve_panels import (
    Label,
    arm_colour,
    arm_marker,
    count_seeds,
    country_title,
    draw_note,
    draw_seeds,
    finish_pairs_axis,
    label_lines,
    page_layout,
    pairs_of,
)
from sweeps.curves.points import CurvePoint
from sweeps.curves.resampled_lines import CurveLine, curve_lines

BEYOND = 2.0  # how far past the last point a fitted line is drawn, dashed
NOTE = "Lines: fits, dashed up to twice the most pairs. Bands: 95 % intervals by user."


def write_curves(points: Sequence[CurvePoint], path: Path) -> None:
    """Write the points as CSV; the columns are the fields of `CurvePoint`, less its counts."""
    columns = [field.name for field in fields(CurvePoint) if field.name != "by_user"]
    rows = []
    for point in points:
        row = {name: getattr(point, name) for name in columns}
        rows.append({**row, "seed": "mean" if point.seed is None else point.seed})
    write_csv(columns, rows, path)


def missing_curve(points: Sequence[CurvePoint]) -> str | None:
    """Return why there is nothing to draw, in a sentence; None when there is."""
    budgets = sorted({point.budget for point in points})
    if len(budgets) > 1:
        return None
    found = f"only {budgets[0]:g}" if budgets else "none"
    return (
        f"A curve needs at least two budgets, but the run has {found}. "
        "Give `curves.budgets` several shares of the labelled pairs and run again."
    )


def curves_figure(points: Sequence[CurvePoint], countries: Sequence[str] | None = None) -> Figure:
    """Return the figure: a row per country, accuracy against pairs trained and labelled.

    Args:
        points: As `curve_points` returns them.
        countries: Which rows, in order; None is all of them.

    Raises:
        ValueError: There are fewer than two budgets.
    """
    problem = missing_curve(points)
    if problem:
        raise ValueError(problem)
    if countries is None:
        countries = list(dict.fromkeys(point.country for point in points))
    lines = curve_lines(points)
    with drawing_style():
        figure = Figure(figsize=(9.0, 2.9 * len(countries) + 0.5), layout=page_layout())
        panels = figure.subplots(len(countries), 2, sharey="row", squeeze=False)
        for row, country in enumerate(countries):
            of_country = [point for point in points if point.country == country]
            own = [line for line in lines if line.country == country]
            _draw_row(list(panels[row]), country, of_country, own)
        draw_note(figure, points, rest=NOTE)
    return figure


def draw_curves(points: Sequence[CurvePoint], path_stem: Path) -> tuple[Path, Path]:
    """Write the figure of all curves as `path_stem`.svg and .png and return the two paths.

    Raises:
        ValueError: There are fewer than two budgets.
    """
    return save_figure(curves_figure(points), path_stem)


def _draw_row(
    panels: list[Axes], country: str, points: list[CurvePoint], lines: list[CurveLine]
) -> None:
    """Draw the two panels of one country."""
    means = [point for point in points if point.seed is None]
    ends = []
    for axes, axis in zip(panels, AXES, strict=True):
        labels = [_draw_arm(axes, axis, line, points) for line in lines]
        axes.axhline(means[0].global_accuracy, color=MUTED, linewidth=0.9, linestyle="--")
        axes.axhline(means[0].length_accuracy, color=MUTED, linewidth=0.9, linestyle=":")
        finish_pairs_axis(axes, axis, means, max(label[1] for label in labels))
        ends.append(labels)
    panels[0].set_ylabel("accuracy, validation pairs")
    panels[0].set_title(
        f"{country_title(country)}: {means[0].pairs:,} pairs of {means[0].users} users, "
        f"{count_seeds(means)}",
        loc="left",
        fontweight="bold",
        fontsize=9.5,
    )
    baselines: list[Label] = [
        ("global model", 0.0, means[0].global_accuracy, MUTED),
        ("longer wins", 0.0, means[0].length_accuracy, MUTED),
    ]
    for axes, labels in zip(panels, ends, strict=True):
        label_lines(axes, labels, baselines)


def _draw_arm(axes: Axes, axis: Axis, line: CurveLine, points: list[CurvePoint]) -> Label:
    """Draw one arm's points, band and fit; return its label, at the end of what is drawn."""
    colour = arm_colour(line.arm)
    of_arm = [point for point in points if point.arm == line.arm]
    means = [point for point in of_arm if point.seed is None]
    seeds = [point for point in of_arm if point.seed is not None]
    x = [pairs_of(point, axis) for point in means]
    draw_seeds(axes, axis, seeds, [point.accuracy for point in seeds])
    axes.plot(x, line.accuracy, arm_marker(line.arm), color=colour, markersize=4)
    _draw_band(axes, x, means, colour)
    trace = trace_line(line, axis, None)
    if trace is None:
        return line.arm, x[-1], means[-1].accuracy, colour
    axes.plot(trace.grid, trace.curve[0], color=colour, linewidth=1.4)
    end = float(trace.grid[-1])
    if trace.fit.shape != "isotonic":  # which says nothing beyond its points
        beyond = np.geomspace(end, BEYOND * end, 33)
        axes.plot(beyond, 1 - trace.fit.error_at(beyond), "--", color=colour, linewidth=1.2)
        end = float(beyond[-1])
    return line.arm, end, float(1 - trace.fit.error_at(end)), colour


def _draw_band(axes: Axes, x: list[float], means: list[CurvePoint], colour: str) -> None:
    """Draw the intervals by user of one arm."""
    band = [(at, p.low, p.high) for at, p in zip(x, means, strict=True) if p.low is not None]
    if band:
        at, low, high = zip(*band, strict=True)
        axes.fill_between(at, low, high, color=colour, alpha=0.07, linewidth=0)
        for edge in (low, high):
            axes.plot(at, edge, color=colour, alpha=0.45, linewidth=0.7)
