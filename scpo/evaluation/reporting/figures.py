"""Figures of an evaluation: who a model serves, what its probabilities mean, how steering acts.

In come the tables of `scpo.evaluation.tables`; out come SVG and PNG files. Colours are told apart
by the colour-blind: blue is better than the global model, vermillion worse, and every cell of
the heatmap carries its numbers.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scpo.arrays import Row
from scpo.evaluation.pair_scores import LENGTH
from scpo.evaluation.reporting.matrix_figure import matrix_figure
from scpo.evaluation.tables import VALIDATION, Tables
from scpo.files.atomic import hash_name
from scpo.files.figure_style import (
    BLUE,
    GREEN,
    GRID,
    INK,
    MUTED,
    PURPLE,
    VERMILLION,
    drawing_style,
    label_right,
    save_figure,
    show_percent,
)
from scpo.statistics.accuracy import LAYERS
from scpo.statistics.wording import country_title
from scpo.text.counts import format_count

LAYER_COLOURS = dict(zip(LAYERS, (BLUE, VERMILLION, GREEN), strict=True))
_NUM_COLUMNS = 3
_LONGEST_NAME = 60  # characters of a figure's file
SMALLEST_WIDTH = 5.6
RELIABILITY_CAPTION = (
    "lines up and down: 95 % interval by user; bars: share of the pairs; dashed: calibrated"
)
KNOB_CAPTION = "band: 95 % interval by user of overall accuracy; dotted: what validation prefers"


def draw_evaluation(tables: Tables, folder: Path) -> list[Path]:
    """Write every figure that the tables have rows for into a folder, and return the paths.

    They are matrix-ARM and knob-ARM, reliability and length, each as .svg and .png.
    """
    figures = {"reliability": reliability_figure(tables), "length": length_figure(tables)}
    owned = [row["arm"] for row in tables["matrix"] if row["model_country"]]
    for arm in dict.fromkeys(owned):
        figures[f"matrix-{arm}"] = matrix_figure(tables, arm)
    for arm in dict.fromkeys(row["arm"] for row in tables["knob"]):
        figures[f"knob-{arm}"] = knob_figure(tables, arm)
    paths: list[Path] = []
    for name, figure in figures.items():
        paths += save_figure(figure, folder / _file_name(name))
    return paths


def _file_name(name: str) -> str:
    """Return a name for a file; different names have different ones, in any letters' case."""
    plain = re.sub(r"[^a-z0-9_-]+", "_", name[:_LONGEST_NAME])
    return name if name == plain else f"{plain}_{hash_name(name)}"


def reliability_figure(tables: Tables) -> Figure:
    """Return confidence against the share of pairs that went its way, a panel an arm.

    Shown are all countries pooled, or the only one.
    """
    shown = tables["reliability"][0]["country"]
    rows = [row for row in tables["reliability"] if row["country"] == shown]
    errors = {row["arm"]: row for row in tables["calibration"] if row["country"] == shown}
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    with drawing_style():
        figure, panels = _grid(len(arms))
        for axes, arm in zip(panels, arms, strict=True):
            _draw_reliability(axes, [row for row in rows if row["arm"] == arm])
            error = errors[arm]
            axes.set_title(
                f"{arm}: ECE {error['ece_width']:.3f}, Brier {error['brier']:.3f}",
                loc="left",
                fontweight="bold",
                fontsize=9.5,
            )
        _name_outer(panels, "confidence sigmoid(|r+ - r-|)", "share chosen")
        caption = f"{_whose_pairs(shown, rows)}; {RELIABILITY_CAPTION}"
        figure.suptitle(caption, x=0.01, ha="left", fontsize=8.5, color=MUTED)
    return figure


def length_figure(tables: Tables) -> Figure:
    """Return accuracy by decile of the difference of lengths, a line an arm.

    Shown are all countries pooled, or the only one.
    """
    shown = tables["length_deciles"][0]["country"]
    rows = [row for row in tables["length_deciles"] if row["country"] == shown]
    arms = [arm for arm in dict.fromkeys(row["arm"] for row in rows) if arm != LENGTH]
    colours = [MUTED, BLUE, VERMILLION, GREEN, PURPLE, INK]
    with drawing_style():
        figure = Figure(figsize=(6.6, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0.5, color=MUTED, linewidth=0.9, linestyle=":")
        labels = []
        for number, arm in enumerate(arms):
            line = [row for row in rows if row["arm"] == arm]
            colour = colours[number % len(colours)]
            style = "--" if number >= len(colours) else "-"
            x = [row["decile"] for row in line]
            y = [row["accuracy"] for row in line]
            axes.plot(x, y, color=colour, marker="o", markersize=3.5, linestyle=style)
            labels.append((arm, line[-1]["accuracy"], colour))
        line = [row for row in rows if row["arm"] == arms[0]]
        ticks = [f"{row['shortest']:+,.0f}\nto\n{row['longest']:+,.0f}" for row in line]
        axes.set_xticks([row["decile"] for row in line], ticks, fontsize=7.5)
        axes.set_xlabel("length of the chosen response minus the other's, characters (deciles)")
        axes.set_ylabel("accuracy")
        axes.set_ylim(0, 1)
        show_percent(axes.yaxis)
        axes.set_title(_whose_pairs(shown, line), loc="left", fontsize=9.0, color=MUTED)
        label_right(axes, labels, gap=0.065)
    return figure


def knob_figure(tables: Tables, arm: str) -> Figure:
    """Return accuracy by layer against s, a panel a country, with the s of validation users."""
    rows = [row for row in tables["knob"] if row["arm"] == arm and row["part"] != VALIDATION]
    rows = rows or [row for row in tables["knob"] if row["arm"] == arm]
    countries = list(dict.fromkeys(row["country"] for row in rows))
    preferred = {
        row["country"]: row["share"] for row in tables["knob_choice"] if row["arm"] == arm
    }
    with drawing_style():
        figure, panels = _grid(len(countries))
        for axes, country in zip(panels, countries, strict=True):
            mine = [row for row in rows if row["country"] == country]
            share = preferred.get(country)
            _draw_steering(axes, mine, share)
            prefers = "" if share is None else f": validation prefers s = {share:.2f}"
            title = f"{country_title(country)}{prefers}"
            axes.set_title(title, loc="left", fontweight="bold", fontsize=9.0)
        x = f"s (0: global model, 1: {arm})"
        _name_outer(panels, x, f"accuracy, {rows[0]['part']} pairs")
        figure.suptitle(KNOB_CAPTION, x=0.01, ha="left", fontsize=8.5, color=MUTED)
    return figure


def _draw_reliability(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw one arm's bins with intervals, the diagonal, and where the pairs are."""
    axes.plot([0.5, 1], [0.5, 1], color=MUTED, linewidth=0.9, linestyle="--")
    total = sum(row["pairs"] for row in rows)
    for row in rows:
        middle, width = (row["lowest"] + row["highest"]) / 2, row["highest"] - row["lowest"]
        axes.bar(middle, row["pairs"] / total, 0.9 * width, color=GRID, zorder=1)
        if row["low"] is not None:
            ends = [row["low"], row["high"]]
            axes.plot([row["confidence"]] * 2, ends, color=BLUE, linewidth=1.0, zorder=2)
    x, y = ([row[name] for row in rows] for name in ("confidence", "right"))
    axes.plot(x, y, color=BLUE, marker="o", markersize=4, linewidth=1.2, zorder=3)
    axes.set_xlim(0.5, 1.0)
    axes.set_ylim(0.0, 1.0)
    for axis in (axes.xaxis, axes.yaxis):
        show_percent(axis)
    axes.set_xticks([0.5, 0.6, 0.7, 0.8, 0.9])  # a 100 % would touch the next panel's 50 %


def _draw_steering(axes: Axes, rows: Sequence[Row], preferred: float | None) -> None:
    """Draw one country's three layers, and the s that validation prefers."""
    labels = []
    for layer, colour in LAYER_COLOURS.items():
        line = [row for row in rows if row["layer"] == layer and row["accuracy"] is not None]
        if not line:
            continue
        x = [row["share"] for row in line]
        axes.plot(x, [row["accuracy"] for row in line], color=colour, linewidth=1.6)
        if layer == "overall" and line[0]["low"] is not None:
            low, high = ([row[name] for row in line] for name in ("low", "high"))
            axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        labels.append((layer, line[-1]["accuracy"], colour))
    if preferred is not None:
        axes.axvline(preferred, color=INK, linewidth=1.2, linestyle=":", clip_on=False)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    show_percent(axes.yaxis)
    label_right(axes, labels, gap=0.1)


def _grid(num_panels: int) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many panels, three a row."""
    num_columns = min(_NUM_COLUMNS, num_panels)
    num_rows = -(-num_panels // num_columns)
    width = max(SMALLEST_WIDTH, 3.4 * num_columns + 0.4)  # the caption's
    figure = Figure(figsize=(width, 2.7 * num_rows + 0.4), layout="constrained")
    panels: list[Axes] = list(
        figure.subplots(num_rows, num_columns, squeeze=False, sharey=True).ravel()
    )
    for axes in panels[num_panels:]:
        axes.remove()
    return figure, panels[:num_panels]


def _name_outer(panels: Sequence[Axes], x: str, y: str) -> None:
    """Name the axes, which are the same in each panel: x below each column, y left of each row."""
    for number, axes in enumerate(panels):
        if number % _NUM_COLUMNS == 0:
            axes.set_ylabel(y)
        if number + _NUM_COLUMNS >= len(panels):
            axes.set_xlabel(x)


def _whose_pairs(country: str, rows: Sequence[Row]) -> str:
    arm = rows[0]["arm"]
    pairs = sum(row["pairs"] for row in rows if row["arm"] == arm)
    return f"{country_title(country)}: {format_count(pairs, 'pair')}"
