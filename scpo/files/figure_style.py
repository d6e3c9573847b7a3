"""Matplotlib figures as files, without global state.

Figures are `matplotlib.figure.Figure` objects, never pyplot's. SVG is deterministic: ids come
from a fixed salt, no date is written. Names in letters that the font of figures lacks are drawn in
an installed one that has them; where there is none, that is said once.
"""

import functools
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy.optimize import isotonic_regression

from scpo.files.atomic import atomic_path

_log = logging.getLogger(__name__)

INK = "#1f2430"
MUTED = "#6b7280"
GRID = "#e4e7ec"
PAPER = "#ffffff"
BLUE = "#0072b2"  # Okabe and Ito's palette, safe for the colour-blind
VERMILLION = "#d55e00"
GREEN = "#009e73"
PURPLE = "#cc79a7"
ORANGE = "#e69f00"
SKY = "#56b4e9"

_SVG_DPI = 72  # the unit of Matplotlib's SVG is a point
_PNG_DPI = 160

_STYLE: Any = {  # Any: Matplotlib types its settings as 300 literal keys
    "svg.hashsalt": "scpo",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "legend.frameon": False,
}

_FONTS_OF_OTHER_LETTERS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans Arabic", "Noto Sans Devanagari"),
    *("Noto Sans Thai", "WenQuanYi Zen Hei", "Microsoft YaHei", "PingFang SC", "Malgun Gothic"),
    *("Hiragino Sans", "Arial Unicode MS", "Unifont"),
)


@contextmanager
def drawing_style() -> Iterator[None]:
    """Draw and save inside this block with the project's look."""
    there = set(get_font_names())
    fonts = ["DejaVu Sans", *(name for name in _FONTS_OF_OTHER_LETTERS if name in there)]
    with matplotlib.rc_context(_STYLE | {"font.family": fonts}):
        yield


def save_figure(figure: Figure, path_stem: Path) -> tuple[Path, Path]:
    """Write `path_stem`.svg and `path_stem`.png, each whole or not at all; return both paths."""
    svg, png = path_stem.with_suffix(".svg"), path_stem.with_suffix(".png")
    with drawing_style(), _missing_letters_told():
        if layout := figure.get_layout_engine():
            layout.execute(figure)  # once for both files
            figure.set_layout_engine("none")
        # The canvases themselves: Figure.savefig draws twice a file.
        figure.set_dpi(_SVG_DPI)
        with atomic_path(svg) as temporary:
            FigureCanvasSVG(figure).print_svg(temporary, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
        figure.set_dpi(_PNG_DPI)
        with atomic_path(png) as temporary:
            FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return svg, png


@contextmanager
def _missing_letters_told() -> Iterator[None]:
    """Say in one line what Matplotlib warns of at each letter that no font has."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for each in caught:
        if re.match(r"Glyph \d+", str(each.message)):
            _tell_missing_letters()
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


@functools.cache
def _tell_missing_letters() -> None:
    _log.warning(
        "A name has letters that no font of this machine has: figures show boxes in their place. "
        "Install one that has them, such as Noto Sans CJK."
    )


def show_percent(axis: Axis) -> None:
    """Show fractions as percentages, at ticks whose labels are exact."""
    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 6):g} %"))


def spread_positions(positions: Sequence[float], gap: float) -> list[float]:
    """Return positions moved apart to at least `gap`, in their order, as little as needed.

    Of equal positions the first given comes out highest.
    """
    if not positions:
        return []
    wanted = np.asarray(positions, dtype=np.float64)
    order = np.lexsort((-np.arange(len(wanted)), wanted))
    steps = gap * np.arange(len(wanted))  # taken off, positions need only ascend
    moved = np.empty(len(wanted))
    moved[order] = isotonic_regression(wanted[order] - steps).x + steps
    return [float(position) for position in moved]


def label_right(axes: Axes, labels: Sequence[tuple[str, float, str]], *, gap: float) -> None:
    """Write labels at the right of a panel with final limits, at their heights, moved apart.

    Labels are (text, height in data units, colour); two are at least `gap` apart, a share of the
    panel's height.
    """
    low, high = axes.get_ylim()
    heights = spread_positions([height for _, height, _ in labels], gap * (high - low))
    for (text, _, colour), height in zip(labels, heights, strict=True):
        axes.annotate(
            text,
            (1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=8.5,
            annotation_clip=False,
        )
