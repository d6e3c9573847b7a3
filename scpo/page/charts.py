"""Charts as SVG that follows the width of the page: forests of intervals, points, lines, bands.

Lines and bands are drawn in a stretched box, points and words over it in their own size, so that
nothing is distorted on a phone. Positions are in percent of the chart, y from the top.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.ticker import LogLocator, MaxNLocator

from scpo.page.page import page_templates
from scpo.statistics.bootstrap import Interval
from scpo.statistics.wording import format_difference
from scpo.text.counts import format_number

COLOURS = ("blue", "vermillion", "green", "purple", "orange", "grey", "ink")  # of page.css
_TONES = {1: "up", -1: "down", 0: ""}  # colours, by the interval's side of 0
_PAD = 0.06  # of the range, beyond the outermost values


@dataclass(frozen=True)
class ForestRow:
    """One line of a forest: a name, a difference with its interval, and a note."""

    name: str
    figure: Interval  # a fraction
    note: str = ""


@dataclass(frozen=True)
class PlotPoint:
    """A point of a plot, perhaps with the ends of its interval, and what its tooltip says."""

    x: float
    y: float
    tip: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Attributes:
        name: In the legend; "" for none.
        points: Ascending in x where they are joined.
        colour: One of `COLOURS`.
        joined: Whether a line joins them, with a band where they have ends.
        marker: "dot", "ring", or "star" for what stands out.
    """

    name: str
    points: Sequence[PlotPoint]
    colour: str = "blue"
    joined: bool = False
    marker: str = "dot"


@dataclass(frozen=True)
class Plot:
    """Series over one pair of axes; y is a share of 1, shown in percent."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False


def draw_forest(rows: Sequence[ForestRow], caption: str) -> Markup:
    """Return differences with their intervals, in points, on one axis with a line at 0."""
    ends = [end for row in rows for end in (row.figure.value, row.figure.low, row.figure.high)]
    low, high = _padded([0.0, *(end for end in ends if end is not None)])

    def x(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    template = page_templates().get_template("forest.html.j2")
    return Markup(  # nosec B704  # of a template that escapes
        template.render(
            caption=caption,
            zero=x(0.0),
            rows=[(row, format_difference(row.figure), _TONES[row.figure.sign]) for row in rows],
            x=x,
            ticks=[(x(tick), _percent(tick)) for tick in _ticks(low, high)],
        )
    )


def draw_plots(plots: Sequence[Plot]) -> Markup:
    """Return plots side by side where there is room; each has the axes of its own."""
    template = page_templates().get_template("plots.html.j2")
    drawn = [_Drawn(plot) for plot in plots if any(series.points for series in plot.series)]
    return Markup(template.render(plots=drawn))  # nosec B704  # of a template that escapes


class _Drawn:
    """A plot with its positions."""

    def __init__(self, plot: Plot) -> None:
        self.plot = plot
        points = [point for series in plot.series for point in series.points]
        ys = [y for point in points for y in (point.y, point.low, point.high) if y is not None]
        self.low, self.high = _padded(ys)
        self.scale: Callable[[float], float] = math.log10 if plot.log_x else float
        self.left, self.right = _padded([self.scale(point.x) for point in points])
        places = LogLocator(subs=(1.0, 2.0, 5.0)) if plot.log_x else MaxNLocator(4)
        ends = (10**self.left, 10**self.right) if plot.log_x else (self.left, self.right)
        xs = [float(tick) for tick in places.tick_values(*ends) if ends[0] <= tick <= ends[1]]
        self.x_ticks = [(self.x(tick), format_number(tick)) for tick in _thinned(xs, 6)]
        self.y_ticks = [(self.y(tick), _percent(tick)) for tick in _ticks(self.low, self.high)]

    def x(self, value: float) -> float:
        """Return a position from the left, in percent."""
        return round(100 * (self.scale(value) - self.left) / (self.right - self.left), 2)

    def y(self, value: float) -> float:
        """Return a position from the top, in percent."""
        return round(100 * (self.high - value) / (self.high - self.low), 2)

    def line(self, series: Series) -> str:
        """Return the corners of a line."""
        return " ".join(f"{self.x(point.x)},{self.y(point.y)}" for point in series.points)

    def band(self, series: Series) -> str:
        """Return the corners of a band, "" where a point has no ends."""
        ends = [(point.x, point.low, point.high) for point in series.points]
        if any(low is None or high is None for _, low, high in ends):
            return ""
        upper = [(x, high) for x, _, high in ends]
        lower = [(x, low) for x, low, _ in reversed(ends)]
        return " ".join(f"{self.x(x)},{self.y(float(y or 0))}" for x, y in upper + lower)


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = _PAD * (high - low) or 0.01 * (abs(high) or 1.0)
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    return [float(t) for t in MaxNLocator(4).tick_values(low, high) if low <= t <= high]


def _thinned(ticks: list[float], most: int) -> list[float]:
    return ticks[:: max(1, math.ceil(len(ticks) / most))]


def _percent(value: float) -> str:
    return f"{100 * value:.4g}"
