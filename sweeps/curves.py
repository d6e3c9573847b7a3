"""Data-efficiency curves as `curves.csv`, SVG and PNG.

In come the points of `curve_points`. Every pair must be labelled before the filter can drop it,
so the figure has two axes: pairs trained on (a saving of training) and pairs labelled (what
annotation costs). Lines are means over seeds, bands 95 % intervals by user.
"""

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from sweeps.csv_files import write_csv
from sweeps.curve_points import POOLED, CurvePoint
from sweeps.drawing import (
    BLUE,
    GREEN,
    MUTED,
    PURPLE,
    VERMILLION,
    drawing_style,
    label_right,
    save_figure,
)

ARM_COLOURS = {"full": BLUE, "scpo": VERMILLION, "random_k": GREEN}


def write_curves(points: Sequence[CurvePoint], path: Path) -> None:
    """Write the points as CSV; the columns are the fields of `CurvePoint`."""
    rows = [{**asdict(p), "seed": "mean" if p.seed is None else p.seed} for p in points]
    write_csv([field.name for field in fields(CurvePoint)], rows, path)


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
    layout = ConstrainedLayoutEngine(wspace=0.06, hspace=0.08)
    with drawing_style():
        figure = Figure(figsize=(9.0, 2.9 * len(countries) + 0.3), layout=layout)
        panels = figure.subplots(len(countries), 2, sharey="row", squeeze=False)
        for row, country in enumerate(countries):
            means = [p for p in points if p.country == country and p.seed is None]
            _draw_row(panels[row][0], panels[row][1], country, means)
    return figure


def draw_curves(points: Sequence[CurvePoint], path_stem: Path) -> tuple[Path, Path]:
    """Write the figure of all curves as `path_stem`.svg and .png and return the two paths.

    Raises:
        ValueError: There are fewer than two budgets.
    """
    return save_figure(curves_figure(points), path_stem)


def _draw_row(trained: Axes, labelled: Axes, country: str, means: list[CurvePoint]) -> None:
    """Draw the two panels of one country."""
    for axes, count, quantity in (
        (trained, "pairs_trained", "pairs trained on (log2 scale)"),
        (labelled, "pairs_labelled", "pairs labelled (log2 scale)"),
    ):
        for arm in dict.fromkeys(point.arm for point in means):
            line = [point for point in means if point.arm == arm]
            _draw_line(axes, [getattr(p, count) for p in line], line, ARM_COLOURS.get(arm, PURPLE))
        axes.axhline(means[0].global_accuracy, color=MUTED, linewidth=0.9, linestyle="--")
        axes.axhline(means[0].length_accuracy, color=MUTED, linewidth=0.9, linestyle=":")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=8))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        axes.set_xlabel(quantity)
    name = "All countries pooled" if country == POOLED else country
    trained.set_ylabel("accuracy, validation pairs")
    trained.set_title(
        f"{name}: {means[0].pairs} pairs of {means[0].users} users",
        loc="left",
        fontweight="bold",
        fontsize=9.5,
    )
    for axes, count in ((trained, "pairs_trained"), (labelled, "pairs_labelled")):
        _label_lines(axes, count, means)


def _draw_line(axes: Axes, x: list[float], line: list[CurvePoint], colour: str) -> None:
    """Draw one arm's mean over seeds and its band by user."""
    axes.plot(x, [point.accuracy for point in line], color=colour, marker="o", markersize=3.5)
    band = [(at, p.low, p.high) for at, p in zip(x, line, strict=True) if p.low is not None]
    if band:
        at, low, high = zip(*band, strict=True)
        axes.fill_between(at, low, high, color=colour, alpha=0.07, linewidth=0)
        for edge in (low, high):
            axes.plot(at, edge, color=colour, alpha=0.45, linewidth=0.7)


def _label_lines(axes: Axes, count: str, means: list[CurvePoint]) -> None:
    """Name each line in the right margin, with a thin lead from where it ends."""
    right = axes.get_xlim()[1]
    labels: list[tuple[str, float, str]] = []
    for arm in dict.fromkeys(point.arm for point in means):
        last = [point for point in means if point.arm == arm][-1]
        colour = ARM_COLOURS.get(arm, PURPLE)
        labels.append((arm, last.accuracy, colour))
        ends = [getattr(last, count), right]
        axes.plot(ends, [last.accuracy] * 2, color=colour, linewidth=0.7, linestyle=(0, (1, 2)))
    labels.append(("global model", means[0].global_accuracy, MUTED))
    labels.append(("longer wins", means[0].length_accuracy, MUTED))
    axes.set_xlim(right=right)
    label_right(axes, labels, gap=0.085)
