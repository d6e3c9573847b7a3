"""The map as a figure for print: what each arm gains on tuned full, in points.

A panel is one arm (down) and one number of pairs (across), for one quality of the global model;
in it, cultural shift runs to the right and the share of outliers upwards. Blue is better and
vermillion worse, which the colour-blind tell apart. A solid line encloses the cells whose 95 %
interval lies above 0, a dashed line those below; both kinds carry their number.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from scpo.arrays import BoolArray, FloatArray
from scpo.files.figure_style import BLUE, INK, MUTED, PAPER, VERMILLION, drawing_style
from sweeps.research.worlds.map_cells import BOTH, MapRow

_COLOURS = LinearSegmentedColormap.from_list("pays", [VERMILLION, PAPER, BLUE])
_SMALLEST_SPAN = 0.02  # of the colours: 2 points, so that noise does not look like much
SHOWN = {
    "paper": "the paper's scpo",
    "scpo": "scpo by the rule",
    "user": "weights of users",
    BOTH: "both",
}
MEASURED = {
    "truth": "expected accuracy on typical users' choices",
    "overall": "accuracy on all test users' choices, outliers included",
}
_DARK = 0.6  # of the span, above which numbers are light


def map_figure(rows: Sequence[MapRow], measure: str, global_cosine: float) -> Figure:
    """Return the figure of one quality of the global model: a line of panels an arm.

    `measure` is "truth" or "overall"; rows of other studies than the map are left out.

    Raises:
        ValueError: There is no row of that measure and cosine.
    """
    kind = ("", measure, "full", global_cosine)
    shown = [
        row
        for row in rows
        if (row.variant, row.measure, row.against, row.global_cosine) == kind
        and row.model in SHOWN
    ]
    if not shown:
        raise ValueError(f"A map needs rows of {kind[1:]}, but has none.")
    span = max(_SMALLEST_SPAN, *(abs(row.difference.value or 0.0) for row in shown))
    across = _values(shown, "pairs")
    with drawing_style():
        size = (2.2 + 2.0 * len(across), 1.0 + 1.45 * len(SHOWN))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(SHOWN), len(across), sharex=True, sharey=True, squeeze=False)
        for line, (model, words) in enumerate(SHOWN.items()):
            for column, pairs in enumerate(across):
                axes = panels[line, column]
                own = [row for row in shown if (row.model, row.pairs) == (model, pairs)]
                mesh = _draw_panel(axes, own, span)
                if line == 0:
                    axes.set_title(f"{pairs:,.0f} labelled pairs", fontsize=9)
                if line == len(SHOWN) - 1:
                    axes.set_xlabel("cultural shift")
            panels[line, 0].set_ylabel(f"{words}\n\noutlier users", fontsize=8)
        bar = figure.colorbar(mesh, ax=panels, shrink=0.6, pad=0.015, aspect=40)
        bar.set_label("points of accuracy above plain fine-tuning", labelpad=2)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(_points))
        bar.outline.set_visible(False)
        figure.supxlabel(_caption(shown, measure), x=0.01, ha="left", fontsize=8, color=MUTED)
    return figure


def region_edges(mask: BoolArray) -> FloatArray:
    """Return the line segments round the true cells of a grid, shape (E, 2, 2) of x and y.

    The centre of cell (i, j) lies at x = j, y = i.
    """
    padded = np.pad(mask, 1)
    segments = []
    for line, column in np.argwhere(mask):
        for step_y, step_x in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            if not padded[line + 1 + step_y, column + 1 + step_x]:
                middle = np.array([column + step_x / 2, line + step_y / 2])
                along = np.array([abs(step_y), abs(step_x)]) / 2
                segments.append([middle - along, middle + along])
    return np.array(segments).reshape(-1, 2, 2)


def _draw_panel(axes: Axes, rows: Sequence[MapRow], span: float) -> QuadMesh:
    shifts, shares = _values(rows, "shift"), _values(rows, "outlier_share")
    points = np.zeros((len(shares), len(shifts)))
    above, below = np.zeros_like(points, dtype=np.bool_), np.zeros_like(points, dtype=np.bool_)
    for row in rows:
        cell = shares.index(row.outlier_share), shifts.index(row.shift)
        points[cell] = row.difference.value
        above[cell], below[cell] = row.difference.sign > 0, row.difference.sign < 0
    mesh = axes.pcolormesh(
        np.arange(len(shifts) + 1) - 0.5,
        np.arange(len(shares) + 1) - 0.5,
        points,
        cmap=_COLOURS,
        vmin=-span,
        vmax=span,
        edgecolors="face",
        linewidth=0.2,  # no hairlines between cells
    )
    for mask, style in ((above, "-"), (below, (0, (2, 1.2)))):
        edges = LineCollection(
            list(region_edges(mask)), colors=INK, linewidths=1.1, linestyles=[style]
        )
        edges.set_clip_on(False)
        axes.add_collection(edges)
        for line, column in np.argwhere(mask):
            value = points[line, column]
            colour = PAPER if abs(value) > _DARK * span else INK
            text = f"{100 * value:+.1f}"
            axes.text(column, line, text, ha="center", va="center", color=colour, fontsize=6)
    axes.set_xticks(range(len(shifts)), [f"{shift:g}" for shift in shifts], fontsize=7.5)
    axes.set_yticks(range(len(shares)), [f"{100 * share:g} %" for share in shares], fontsize=7.5)
    axes.grid(False)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return mesh


def _caption(rows: Sequence[MapRow], measure: str) -> str:
    cells = len(rows) // len(SHOWN)
    return (
        f"Colour: {MEASURED[measure]}, minus that of plain fine-tuning (tuned full), in points; "
        f"mean of {rows[0].num_worlds} worlds a cell.\n"
        "Solid line: 95 % interval above 0; dashed: below 0. By chance alone about "
        f"{0.025 * cells:.0f} of {cells} cells of an arm would be within each.\n"
        "Shift: length of the country's own utility, in lengths of the consensus. Outliers "
        "choose against the consensus.\n"
        f"The global model's cosine to the consensus is {rows[0].global_cosine:g}; 1 is perfect. "
        "Every arm tries as many settings, judged by left-out users."
    )


def _points(at: float, _: object) -> str:
    return "0" if abs(at) < 1e-9 else f"{100 * at:+.2g}"


def _values(rows: Sequence[MapRow], name: str) -> list[float]:
    return sorted({getattr(row, name) for row in rows})
