"""The tested heads as a figure: each arm's gain on plain fine-tuning, a panel a country."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from scpo.files.figure_style import BLUE, MUTED, VERMILLION, drawing_style
from scpo.statistics.wording import country_title, format_accuracy
from scpo.text.counts import format_count
from sweeps.ledger.pooled import PooledRow
from sweeps.ledger.words import BASELINE, POOLED

_COLOURS = {1: BLUE, 0: MUTED, -1: VERMILLION}  # by which side of 0 the interval lies on


def heads_figure(rows: Sequence[PooledRow]) -> Figure:
    """Return a panel for all countries, then one for each, an arm a line with its interval."""
    countries = sorted({row.country for row in rows}, key=lambda name: (name != POOLED, name))
    with drawing_style():
        figure = Figure(figsize=(2.6 * len(countries) + 1.2, 2.7))
        figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.1))
        axes = figure.subplots(1, len(countries), sharex=True, sharey=True, squeeze=False)[0]
        for panel, country in zip(axes, countries, strict=True):
            _draw_country(panel, [row for row in rows if row.country == country])
        figure.supxlabel(
            "gain on plain fine-tuning, points; 95 % interval by test user", fontsize=9
        )
    return figure


def _draw_country(panel: Axes, rows: Sequence[PooledRow]) -> None:
    base = next((row for row in rows if row.arm == BASELINE), rows[0])
    panel.axvline(0.0, color=MUTED, linewidth=0.8)
    others = [row for row in rows if row.difference(BASELINE).value is not None]
    for place, row in enumerate(others):
        gain = row.difference(BASELINE)
        ends = [100 * (value or 0.0) for value in (gain.low, gain.high)]
        colour = _COLOURS[gain.sign]
        panel.plot(ends, [place, place], color=colour, linewidth=2.0, solid_capstyle="butt")
        panel.plot(100 * (gain.value or 0.0), place, "o", color=colour, markersize=5)
    panel.set_yticks(range(len(others)), [row.arm for row in others])
    panel.set_ylim(len(others) - 0.5, -0.5)
    panel.grid(visible=False, axis="y")
    panel.tick_params(axis="y", length=0)
    panel.set_title(
        f"{country_title(base.country)}\n{BASELINE} {format_accuracy(base.accuracy)}\n"
        f"{format_count(base.users, 'user')}, {format_count(base.pairs, 'pair')}",
        fontsize=8.5,
        loc="left",
    )
