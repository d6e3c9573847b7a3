"""Data-efficiency curves as figures: accuracy, or both layers, against pairs trained and labelled.

Every pair must be labelled before the filter can drop it, so each row has two axes: pairs trained
on (a saving of training) and pairs labelled (what annotation costs). Markers are means over seeds
and small dots the seeds. In the figure of all pairs bands are 95 % intervals by user and lines
fits, dashed from the last point to twice its pairs. In that of layers, distinctive pairs show what
an arm learns of a culture and consensus pairs what it costs; lines join the means, for accuracy on
consensus pairs may fall with more pairs.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scpo.files.figure_style import MUTED, drawing_style
from scpo.statistics.wording import country_title
from scpo.text.counts import format_count
from sweeps.curves.fitted_curves import trace_line
from sweeps.curves.output.curve_panels import (
    LABEL_GAP,
    Label,
    arm_colour,
    arm_marker,
    count_seeds,
    draw_seeds,
    finish_pairs_axis,
    label_lines,
    place_panels,
)
from sweeps.curves.points import (
    AXES,
    Axis,
    CurvePoint,
    missing_curve,
    missing_layers,
    pairs_of,
)
from sweeps.curves.resampled_lines import curve_lines

_ALL_PAIRS = ("accuracy",)
_LAYERS = ("consensus", "distinctive")
_BASELINES = ("global model", "longer wins")
_TITLE_INCHES, _NAME_INCHES, _GAP_INCHES = 0.28, 0.52, 0.2  # above a row and below it
_LAYER_SHARE = 0.62  # height of a layer's panel against one of all pairs
_NOTE_STYLE = {"ha": "left", "va": "bottom", "fontsize": 7.5, "color": MUTED}
_LONGEST_NAME = 40  # characters of a country, so that its counts are not cut
_BEYOND = 2.0  # how far past the last point a fitted line is drawn, dashed


def curves_figure(points: Sequence[CurvePoint]) -> Figure:
    """Return the figure: a row per country, accuracy against pairs trained and labelled.

    Raises:
        ValueError: There are fewer than two budgets.
    """
    if problem := missing_curve(points):
        raise ValueError(problem)
    names = list(dict.fromkeys(point.country for point in points))
    note = "Lines: fits, dashed up to twice the most pairs. Bands: 95 % intervals by user."
    return _draw_rows(points, names, _ALL_PAIRS, note, height=2.9 * len(names) + 0.5)


def layers_figure(points: Sequence[CurvePoint]) -> Figure:
    """Return the figure: per country a row for each layer, against pairs trained and labelled.

    Raises:
        ValueError: There are fewer than two budgets, or no distinctive pair.
    """
    if problem := missing_layers(points):
        raise ValueError(problem)
    names = list(dict.fromkeys(point.country for point in points))
    height = (2.9 * _LAYER_SHARE * len(_LAYERS) + 0.4) * len(names) + 0.3
    return _draw_rows(points, names, _LAYERS, "Lines join the means.", height=height)


def _draw_rows(
    points: Sequence[CurvePoint],
    countries: Sequence[str],
    measures: Sequence[str],
    note: str,
    *,
    height: float,
) -> Figure:
    """Return a figure with a row for each country and measure, a field of the points."""
    rows = [(country, measure) for country in countries for measure in measures]
    with drawing_style():
        figure = Figure(figsize=(9.0, height))
        panels = figure.subplots(len(rows), len(AXES), sharey="row", squeeze=False)
        names = [*dict.fromkeys(point.arm for point in points)]
        names += [] if measures is _LAYERS else _BASELINES
        tops = [_TITLE_INCHES if _is_titled(measure) else 0.0 for _, measure in rows]
        bottoms = [_NAME_INCHES if _is_named(measure) else _GAP_INCHES for _, measure in rows]
        place_panels(figure, panels, names, list(zip(tops, bottoms, strict=True)))
        for row, (country, measure) in zip(panels, rows, strict=True):
            of_country = [point for point in points if point.country == country]
            _draw_row(list(row), of_country, measure)
        several = any(point.num_seeds > 1 for point in points)
        marks = "Markers: means over seeds; small dots: single seeds." if several else "One seed."
        figure.supxlabel(f"{marks} {note}", x=0.01, y=0.06 / height, **_NOTE_STYLE)
    return figure


def _is_titled(measure: str) -> bool:
    return measure != _LAYERS[1]


def _is_named(measure: str) -> bool:
    return measure != _LAYERS[0]


def _draw_row(panels: list[Axes], points: list[CurvePoint], measure: str) -> None:
    means = [point for point in points if point.seed is None]
    arms = dict.fromkeys(point.arm for point in means)
    is_layer = measure in _LAYERS
    known = [each or 0.0 for each in (means[0].global_accuracy, means[0].length_accuracy)]
    ends: list[list[Label]] = []
    for axes, axis in zip(panels, AXES, strict=True):
        draw = _draw_layer if is_layer else _draw_fit
        labels = [draw(axes, axis, [p for p in points if p.arm == arm], measure) for arm in arms]
        ends.append([label for label in labels if label is not None])
        if not is_layer:
            for accuracy, style in zip(known, ("--", ":"), strict=True):
                axes.axhline(accuracy, color=MUTED, linewidth=0.9, linestyle=style)
        reach = max((label[1] for label in ends[-1]), default=0.0)
        finish_pairs_axis(axes, axis, means, reach, named=_is_named(measure))
    panels[0].set_ylabel(f"accuracy, {measure if is_layer else 'validation pairs'}")
    if _is_titled(measure):
        title = _title(means, is_layer)
        panels[0].set_title(title, loc="left", fontweight="bold", fontsize=9.5, pad=8.0)
    baselines: list[Label] = [
        (name, 0.0, accuracy, MUTED) for name, accuracy in zip(_BASELINES, known, strict=True)
    ]
    gap = LABEL_GAP / _LAYER_SHARE if is_layer else LABEL_GAP
    for axes, names in zip(panels, ends, strict=True):
        label_lines(axes, names, [] if is_layer else baselines, gap=gap)


def _title(means: list[CurvePoint], is_layer: bool) -> str:
    first = means[0]
    counts = f"{format_count(first.pairs, 'pair')} of {format_count(first.users, 'user')}"
    if is_layer:
        counts = f"{first.consensus_pairs:,} consensus and {first.distinctive_pairs:,} distinctive"
        counts += " pairs"
    name = country_title(first.country)
    name = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return f"{name}: {counts}, {count_seeds(means)}"


def _draw_fit(axes: Axes, axis: Axis, points: list[CurvePoint], measure: str) -> Label:
    """Draw one arm's points, band and fit; return its label, at the end of what is drawn."""
    [line] = curve_lines(points)
    colour = arm_colour(line.arm)
    means = [point for point in points if point.seed is None]
    x = [pairs_of(point, axis) for point in means]
    draw_seeds(axes, axis, points, measure)
    axes.plot(x, line.accuracy, arm_marker(line.arm), color=colour, markersize=4)
    _draw_band(axes, x, means, colour)
    trace = trace_line(line, axis, None)
    if trace is None:
        return line.arm, x[-1], float(line.accuracy[-1]), colour
    axes.plot(trace.grid, trace.curve[0], color=colour, linewidth=1.4)
    end = float(trace.grid[-1])
    if trace.fit.shape != "isotonic":  # which says nothing beyond its points
        beyond = np.geomspace(end, _BEYOND * end, 33)
        axes.plot(beyond, 1 - trace.fit.error_at(beyond), "--", color=colour, linewidth=1.2)
        end = float(beyond[-1])
    return line.arm, end, float(1 - trace.fit.error_at(end)), colour


def _draw_band(axes: Axes, x: list[float], means: list[CurvePoint], colour: str) -> None:
    found = [(at, point.accuracy) for at, point in zip(x, means, strict=True)]
    band = [(at, each.low, each.high) for at, each in found if each.low is not None]
    if band:
        at, low, high = zip(*band, strict=True)
        axes.fill_between(at, low, high, color=colour, alpha=0.07, linewidth=0)
        for edge in (low, high):
            axes.plot(at, edge, color=colour, alpha=0.45, linewidth=0.7)


def _draw_layer(axes: Axes, axis: Axis, points: list[CurvePoint], measure: str) -> Label | None:
    """Draw one arm's points in a layer and return its label; None where the layer is empty."""
    arm = points[0].arm
    draw_seeds(axes, axis, points, measure)
    shown = [
        (pairs_of(point, axis), float(getattr(point, measure).value))
        for point in points
        if point.seed is None and getattr(point, measure).value is not None
    ]
    if not shown:
        return None
    x, y = zip(*shown, strict=True)
    axes.plot(x, y, marker=arm_marker(arm), color=arm_colour(arm), markersize=4, linewidth=1.4)
    return arm, x[-1], y[-1], arm_colour(arm)
