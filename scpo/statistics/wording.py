"""An accuracy and a difference with their intervals, as people read them."""

from scpo.statistics.bootstrap import Interval


def format_accuracy(
    figure: Interval | float | None,
    low: float | None = None,
    high: float | None = None,
    *,
    unit: str = " %",
    missing: str = "no pairs",
) -> str:
    """Return e.g. "64.1 % (58.9-69.0)"; without an interval only the share.

    `figure` is a fraction, with its interval or with the ends beside it; `unit` follows the share,
    and `missing` is written without an accuracy.
    """
    value, low, high = _parts(figure, low, high)
    if value is None:
        return missing
    ends = "" if low is None or high is None else f" ({100 * low:.1f}-{100 * high:.1f})"
    return f"{100 * value:.1f}{unit}{ends}"


def format_difference(
    figure: Interval | float | None, low: float | None = None, high: float | None = None
) -> str:
    """Return a difference in points, e.g. "+1.2 (-0.8 to +3.0)"; "" for none."""
    value, low, high = _parts(figure, low, high)
    if value is None:
        return ""
    ends = "" if low is None or high is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{100 * value:+.1f}{ends}"


def _parts(
    figure: Interval | float | None, low: float | None, high: float | None
) -> tuple[float | None, float | None, float | None]:
    if isinstance(figure, Interval):
        return figure.value, figure.low, figure.high
    return figure, low, high
