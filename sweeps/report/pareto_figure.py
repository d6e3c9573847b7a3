"""Scatter of a search per country: accuracy against pairs trained, with the Pareto front.

In come rankings, out comes one figure with a panel for each country. Dots on the front are
filled and joined by a line, the knee has a diamond, the recommendation a ring and its
interval, settings that break the constraint are crosses.
"""

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from scpo.files.figure_style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    PURPLE,
    VERMILLION,
    drawing_style,
    label_right,
)
from sweeps.ranking.ranking import CountryRanking, RankedSetting

_NUM_COLUMNS = 3


def pareto_figure(rankings: Sequence[CountryRanking]) -> Figure:
    """Return the figure; countries without a ranked setting have no panel.

    Raises:
        ValueError: No country has a ranked setting.
    """
    shown = [ranking for ranking in rankings if ranking.settings]
    if not shown:
        raise ValueError("At least one ranked setting must be given to draw, but got none.")
    num_columns = min(_NUM_COLUMNS, len(shown))
    num_rows = -(-len(shown) // num_columns)
    with drawing_style():
        size = (3.4 * num_columns, 2.7 * num_rows + 0.3)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(num_rows, num_columns, squeeze=False)
        panels: list[Axes] = list(grid.ravel())
        for axes, ranking in zip(panels, shown, strict=False):
            _draw_country(axes, ranking)
        for axes in panels[len(shown) :]:
            axes.remove()
        handles, labels = _legend_entries(panels[: len(shown)])
        figure.legend(handles, labels, loc="outside upper left", ncols=5, fontsize=8.5)
    return figure


def _draw_country(axes: Axes, ranking: CountryRanking) -> None:
    rest = [s for s in ranking.settings if s.feasible and not s.on_front]
    broken = [s for s in ranking.settings if not s.feasible]
    _scatter(axes, rest, "setting", color=MUTED, alpha=0.55, s=18, linewidth=0)
    _scatter(axes, broken, "breaks the constraint", color=PURPLE, marker="x", s=22)
    front = ranking.front
    axes.plot(
        [s.pairs_trained for s in front],
        [s.accuracy for s in front],
        color=BLUE,
        linewidth=1.1,
        drawstyle="steps-post",
    )
    _scatter(axes, list(front), "Pareto front", color=BLUE, s=26, linewidth=0, zorder=3)
    if ranking.knee is not None:
        diamond = {"marker": "D", "facecolor": "none", "edgecolor": GREEN, "linewidth": 1.6}
        _scatter(axes, [ranking.knee], "knee of the front", s=56, zorder=4, **diamond)
    chosen = ranking.recommended
    if chosen is not None:
        overall = chosen.evaluation.overall
        if overall.low is not None and overall.high is not None:
            at = chosen.pairs_trained
            axes.plot([at, at], [overall.low, overall.high], color=VERMILLION, linewidth=1.0)
        ring = {"facecolor": "none", "edgecolor": VERMILLION, "linewidth": 1.8}
        _scatter(axes, [chosen], "recommended, 95 % interval", s=90, zorder=4, **ring)
    _finish(axes, ranking)


def _finish(axes: Axes, ranking: CountryRanking) -> None:
    evaluation = ranking.settings[0].evaluation
    labels = []
    for name, record, style in (
        ("global", evaluation.global_overall, "--"),
        ("longer", evaluation.length, ":"),
    ):
        if record.accuracy is not None:
            axes.axhline(record.accuracy, color=MUTED, linewidth=0.9, linestyle=style)
            labels.append((name, record.accuracy, MUTED))
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.set_xlabel("pairs trained on")
    axes.set_ylabel("accuracy, validation pairs")
    axes.set_title(ranking.country, loc="left", fontweight="bold", fontsize=9.5, color=INK)
    label_right(axes, labels, gap=0.09)


def _scatter(axes: Axes, settings: list[RankedSetting], label: str, **style: object) -> None:
    if settings:
        x = [setting.pairs_trained for setting in settings]
        axes.scatter(x, [s.accuracy for s in settings], label=label, **style)  # type: ignore[arg-type]


def _legend_entries(panels: Sequence[Axes]) -> tuple[list[Artist], list[str]]:
    entries: dict[str, Artist] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    return list(entries.values()), list(entries)
