"""What the panels of curves share: the look of arms, axes of pairs, labels in the margin."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from scpo.files.figure_style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    show_percent,
    spread_positions,
)
from scpo.text.counts import format_count
from sweeps.curves.points import Axis, CurvePoint, pairs_of

ARM_COLOURS = {
    "full": BLUE,
    "scpo": VERMILLION,
    "random_k": GREEN,
    "filter": PURPLE,
    "weight": INK,
    "inverse": ORANGE,
    "user": SKY,
}
ARM_MARKERS = {
    "full": "o",
    "scpo": "s",
    "random_k": "^",
    "filter": "D",
    "weight": "v",
    "user": "X",
}
_AXIS_NAMES: dict[Axis, str] = {
    "trained": "pairs trained on (log scale)",
    "labelled": "pairs labelled (log scale)",
}
LABEL_GAP = 0.085  # of a panel's height, for panels of the usual height
_TICK_GAP = 0.13  # of a panel's width, between the labels of two numbers of pairs

_NAME_SIZE = 8.5  # of the names in the right margin, points
_NAME_START = 1.045  # of a panel's width: where they begin
_LEFT_INCHES = 0.80  # for the numbers and the name of the y axis
_APART_INCHES = 0.24  # names of the left panel to the right one
_NOTE_INCHES = 0.28  # below all rows

Label = tuple[str, float, float, str]  # text, pairs and accuracy where its line ends, colour


def arm_colour(arm: str) -> str:
    """Return the colour of an arm."""
    return ARM_COLOURS.get(arm, PURPLE)


def arm_marker(arm: str) -> str:
    """Return the marker of an arm, so that arms differ in grey too."""
    return ARM_MARKERS.get(arm, "P")


def count_seeds(means: Sequence[CurvePoint]) -> str:
    """Return e.g. "5 seeds", "1 seed" or "1 to 5 seeds"."""
    numbers = {point.num_seeds for point in means}
    least, most = min(numbers), max(numbers)
    if least < most:
        return f"{least} to {most} seeds"
    return format_count(most, "seed")


def place_panels(
    figure: Figure,
    panels: npt.NDArray[np.object_],
    names: Sequence[str],
    around: Sequence[tuple[float, float]],
) -> None:
    """Place rows of panels (rows, 2), each with room for any of the `names` at its right.

    `around` is the room above and below each row, inches. A layout engine of Matplotlib measures
    each text of each panel instead, and takes as long as drawing them.
    """
    width, height = figure.get_size_inches()
    font = FontProperties(size=_NAME_SIZE)
    measure = TextToPath().get_text_width_height_descent
    room = max(measure(name, font, False)[0] for name in names) / 72 + _APART_INCHES
    panel_width = (width - _LEFT_INCHES - 2 * room) / (2 * _NAME_START)
    panel_height = (height - _NOTE_INCHES - sum(map(sum, around))) / len(around)
    lefts = [_LEFT_INCHES, _LEFT_INCHES + _NAME_START * panel_width + room]
    bottom = height
    for row, (above, below) in zip(panels, around, strict=True):
        bottom -= above + panel_height
        for axes, left in zip(row, lefts, strict=True):
            box = (left / width, bottom / height, panel_width / width, panel_height / height)
            axes.set_position(box)
        bottom -= below


def draw_seeds(axes: Axes, axis: Axis, points: Sequence[CurvePoint], measure: str) -> None:
    """Draw what each seed of an arm has as a small dot, where there are several.

    `measure` is the accuracy to draw, a field of the points; None is left out.
    """
    seeds = [point for point in points if point.seed is not None]
    shown = [point for point in seeds if getattr(point, measure).value is not None]
    if shown and len({point.seed for point in seeds}) > 1:
        x = [pairs_of(point, axis) for point in shown]
        y = [getattr(point, measure).value for point in shown]
        colour = arm_colour(points[0].arm)
        axes.plot(x, y, ".", color=colour, markersize=4, markeredgewidth=0, alpha=0.4)


def finish_pairs_axis(
    axes: Axes, axis: Axis, means: Sequence[CurvePoint], reach: float, *, named: bool = True
) -> None:
    """Make the x axis logarithmic up to `reach`, with the points' own numbers of pairs as ticks.

    `means` are every arm's points with seeds averaged: the ticks are the first arm's, then those
    of others where there is room. Numbers and name stand below it where it is `named`.
    """
    sizes = [pairs_of(point, axis) for point in means]
    low, high = min(sizes), max(reach, *sizes)
    margin = max(high / low, 2.0) ** 0.04
    axes.set_xscale("log", base=2)
    axes.set_xlim(low / margin, high * margin)
    first = [pairs_of(point, axis) for point in means if point.arm == means[0].arm]
    ticks = pick_ticks([*sorted(first, reverse=True), *sizes], low / margin, high * margin)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{tick:,.0f}" for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    show_percent(axes.yaxis)
    axes.tick_params(labelbottom=named)
    if named:
        axes.set_xlabel(_AXIS_NAMES[axis])


def pick_ticks(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Return, ascending, those of the wanted numbers that have room between low and high.

    Earlier ones go first; two stand `_TICK_GAP` of the logarithmic axis apart.
    """
    ticks: list[float] = []
    for size in wanted:
        if all(abs(math.log(size / tick)) >= _TICK_GAP * math.log(high / low) for tick in ticks):
            ticks.append(size)
    return sorted(ticks)


def label_lines(
    axes: Axes, labels: Sequence[Label], baselines: Sequence[Label], *, gap: float = LABEL_GAP
) -> None:
    """Name each line in the right margin, with a thin lead from where it ends.

    The panel's limits must be final. `baselines` run through it and need no lead; `gap` is the
    smallest distance of two names, as a share of the panel's height.
    """
    right = axes.get_xlim()[1]
    low, high = axes.get_ylim()
    for _, pairs, accuracy, colour in labels:
        axes.plot([pairs, right], [accuracy] * 2, ":", color=colour, linewidth=0.9)
    axes.set_ylim(low, high)
    named = [*labels, *baselines]
    heights = fit_heights([accuracy for _, _, accuracy, _ in named], gap * (high - low), low, high)
    for (text, _, accuracy, colour), height in zip(named, heights, strict=True):
        axes.plot(
            [1.0, 1.04],
            [accuracy, height],
            color=colour,
            linewidth=0.6,
            transform=axes.get_yaxis_transform(),
            clip_on=False,
        )
        axes.text(
            _NAME_START,
            height,
            text,
            transform=axes.get_yaxis_transform(),
            color=colour,
            va="center",
            fontsize=_NAME_SIZE,
        )


def fit_heights(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return heights, wanted in any order, at least `gap` apart that stay between low and high.

    Where there is no room for all, the upper ones stand out at the top.
    """
    heights = spread_positions(wanted, gap)
    falling = sorted(range(len(heights)), key=lambda index: -heights[index])
    ceiling, floor = high, low
    for index in falling:
        heights[index] = min(heights[index], ceiling)
        ceiling = heights[index] - gap
    for index in reversed(falling):
        heights[index] = max(heights[index], floor)
        floor = heights[index] + gap
    return heights
