"""Curves of the two layers: accuracy on distinctive and on consensus pairs, as SVG and PNG.

In come the points of `curve_points`. What an arm learns of a culture shows where the global model
is wrong (distinctive), what it costs where it is right (consensus). The global model itself has
0 % and, but for ties, 100 % there. Lines join the means over seeds; nothing is fitted, for
accuracy on consensus pairs may fall with more pairs.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scpo.files.figure_style import drawing_style, save_figure
from sweeps.curves.fitted_curves import AXES, Axis
from sweeps.curves.output.curve_panels import (
    LABEL_GAP,
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
from sweeps.curves.output.figure import missing_curve
from sweeps.curves.points import CurvePoint

LAYERS = ("consensus", "distinctive")
PANEL_SHARE = 0.62  # height of a panel against one of the curves' own figure


def missing_layers(points: Sequence[CurvePoint]) -> str | None:
    """Return why there is nothing to draw, in a sentence; None when there is."""
    problem = missing_curve(points)
    if problem is None and not any(point.distinctive_pairs for point in points):
        return "No validation pair is distinctive: the global model orders all of them right."
    return problem


def layers_figure(points: Sequence[CurvePoint], countries: Sequence[str] | None = None) -> Figure:
    """Return the figure: per country a row for each layer, against pairs trained and labelled.

    Args:
        points: As `curve_points` returns them.
        countries: Which rows, in order; None is all of them.

    Raises:
        ValueError: There are fewer than two budgets, or no distinctive pair.
    """
    problem = missing_layers(points)
    if problem:
        raise ValueError(problem)
    if countries is None:
        countries = list(dict.fromkeys(point.country for point in points))
    num_rows = len(LAYERS) * len(countries)
    with drawing_style():
        height = 2.9 * PANEL_SHARE * num_rows + 0.4 * len(countries) + 0.3
        figure = Figure(figsize=(9.0, height), layout=page_layout())
        panels = figure.subplots(num_rows, len(AXES), sharey="row", squeeze=False)
        for number in range(num_rows):
            country, layer = countries[number // 2], LAYERS[number % 2]
            of_country = [point for point in points if point.country == country]
            _draw_row(list(panels[number]), layer, of_country)
        draw_note(figure, points, rest="Lines join the means.")
    return figure


def draw_layers(points: Sequence[CurvePoint], path_stem: Path) -> tuple[Path, Path]:
    """Write the figure of all countries as `path_stem`.svg and .png and return the two paths.

    Raises:
        ValueError: There are fewer than two budgets, or no distinctive pair.
    """
    return save_figure(layers_figure(points), path_stem)


def _draw_row(panels: list[Axes], layer: str, points: list[CurvePoint]) -> None:
    """Draw the two panels of one country and layer."""
    means = [point for point in points if point.seed is None]
    first = means[0]
    ends: list[list[Label]] = []
    for axes, axis in zip(panels, AXES, strict=True):
        labels = [
            _draw_arm(axes, axis, layer, [point for point in points if point.arm == arm])
            for arm in dict.fromkeys(point.arm for point in means)
        ]
        finish_pairs_axis(axes, axis, means, 0.0, named=layer == LAYERS[-1])
        ends.append([label for label in labels if label is not None])
    panels[0].set_ylabel(f"accuracy, {layer}")
    if layer == LAYERS[0]:
        panels[0].set_title(
            f"{country_title(first.country)}: {first.consensus_pairs:,} consensus and "
            f"{first.distinctive_pairs:,} distinctive pairs, {count_seeds(means)}",
            loc="left",
            fontweight="bold",
            fontsize=9.5,
        )
    for axes, names in zip(panels, ends, strict=True):
        label_lines(axes, names, [], gap=LABEL_GAP / PANEL_SHARE)


def _draw_arm(axes: Axes, axis: Axis, layer: str, points: list[CurvePoint]) -> Label | None:
    """Draw one arm's points in a layer and return its label; None where the layer is empty."""
    arm = points[0].arm
    seeds = [point for point in points if point.seed is not None]
    draw_seeds(axes, axis, seeds, [getattr(point, layer) for point in seeds])
    shown = [
        (pairs_of(point, axis), float(getattr(point, layer)))
        for point in points
        if point.seed is None and getattr(point, layer) is not None
    ]
    if not shown:
        return None
    x, y = zip(*shown, strict=True)
    axes.plot(x, y, marker=arm_marker(arm), color=arm_colour(arm), markersize=4, linewidth=1.4)
    return arm, x[-1], y[-1], arm_colour(arm)
