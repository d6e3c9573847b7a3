"""Heatmap of an arm: each country's model on each country's pairs, beside the global model.

In come the tables of `scpo.evaluation.tables`. Colour says points against the global model, blue
for better and vermillion for worse, which the colour-blind tell apart; every cell carries its
numbers, so colour is never alone.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from scpo.arrays import Row
from scpo.evaluation.pair_scores import GLOBAL
from scpo.evaluation.tables import Tables
from scpo.files.figure_style import BLUE, INK, MUTED, PAPER, VERMILLION, drawing_style

AGAINST_GLOBAL = LinearSegmentedColormap.from_list("against", [VERMILLION, PAPER, BLUE])
_SMALLEST_SPAN = 0.05  # of the colours: 5 points, so that noise does not look like much
CAPTION = (
    "accuracy, and points against the global model\n"
    "bold: 95 % interval by user without 0; framed: own country"
)


def matrix_figure(tables: Tables, arm: str) -> Figure:
    """Return the heatmap of an arm: each country's model on each country's pairs.

    A cell holds accuracy in percent and, below, points against the global model, which give the
    colour; bold where the 95 % interval excludes 0. The own country is framed.

    Raises:
        ValueError: No country has a model of that arm.
    """
    rows = [row for row in tables["matrix"] if row["arm"] == arm and row["model_country"]]
    if not rows:
        raise ValueError(f"A heatmap needs countries' models, but none has one of arm {arm!r}.")
    countries = list(dict.fromkeys(row["country"] for row in tables["matrix"]))
    owners = [name for name in countries if name in {row["model_country"] for row in rows}]
    cells = {(row["model_country"], row["country"]): row for row in rows}
    cells |= {(None, row["country"]): row for row in tables["matrix"] if row["model"] == GLOBAL}
    models = [None, *owners]
    points = np.array([[cells[m, c]["against_global"] for c in countries] for m in models])
    span = max(_SMALLEST_SPAN, float(np.abs(points).max()))
    with drawing_style():
        size = (3.2 + 0.95 * max(2, len(countries)), 2.0 + 0.62 * len(models))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(points, cmap=AGAINST_GLOBAL, vmin=-span, vmax=span, aspect="auto")
        for line, model in enumerate(models):
            for column, country in enumerate(countries):
                own = model == country
                _write_cell(axes, column, line, cells[model, country], span=span, own=own)
        axes.set_xticks(range(len(countries)), [c.replace(" ", "\n", 1) for c in countries])
        axes.set_yticks(range(len(models)), ["global model", *owners])
        axes.set_xlabel("pairs of users in")
        axes.set_ylabel(f"model of, arm {arm}")
        axes.set_title(CAPTION, loc="left", fontsize=8.0, color=MUTED)
        axes.grid(False)
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02)
        bar.set_label("points against the global model")
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+.0f}"))
        bar.outline.set_visible(False)
    return figure


def _write_cell(axes: Axes, column: int, line: int, cell: Row, *, span: float, own: bool) -> None:
    """Write accuracy and points of one cell, light on dark; frame the own country."""
    points = cell["against_global"]
    sure = cell["against_low"] is not None and cell["against_low"] * cell["against_high"] > 0
    text = f"{100 * cell['accuracy']:.0f} %"
    if cell["model"] != GLOBAL:
        text += f"\n{100 * points:+.1f}"
    colour = PAPER if abs(points) > 0.6 * span else INK
    weight = "bold" if sure else "normal"
    axes.text(
        column, line, text, ha="center", va="center", color=colour, fontweight=weight, fontsize=8.5
    )
    if own:
        edges = np.array([-0.47, 0.47, 0.47, -0.47, -0.47])
        axes.plot(column + edges, line + np.roll(edges, 1), color=INK, linewidth=1.6)
