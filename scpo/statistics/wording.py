"""An accuracy, a difference with their intervals, and what they are of, as people read them."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from scpo.choices import POOLED
from scpo.statistics.bootstrap import Interval


def format_accuracy(
    figure: Interval | float | None, *, unit: str = " %", missing: str = "no pairs"
) -> str:
    """Return e.g. "64.1 % (58.9-69.0)"; without an interval only the share.

    `figure` is a fraction, perhaps with its interval; `unit` follows the share, and `missing` is
    written without an accuracy.
    """
    return _format(figure, f"{{:.1f}}{unit}", " ({:.1f}-{:.1f})", missing)


def format_difference(figure: Interval | float | None) -> str:
    """Return a difference in points, e.g. "+1.2 (-0.8 to +3.0)"; "" for none."""
    return _format(figure, "{:+.1f}", " ({:+.1f} to {:+.1f})", "")


def country_title(country: str) -> str:
    """Return a country's name for titles, and words for all countries pooled."""
    return "All countries pooled" if country == POOLED else country


def open_templates(package: str, folder: str, *, escape: bool = False) -> Environment:
    """Return the templates in a package's folder, with the filters `accuracy` and `difference`.

    Texts go into HTML escaped where `escape` is set; a value that is missing is an error.
    """
    environment = Environment(  # nosec B701  # callers say whether it is HTML
        loader=PackageLoader(package, folder),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(accuracy=format_accuracy, difference=format_difference)
    return environment


def _format(figure: Interval | float | None, value: str, ends: str, missing: str) -> str:
    given = figure if isinstance(figure, Interval) else Interval(figure, None, None, 0)
    if given.value is None:
        return missing
    words = value.format(100 * given.value + 0.0)  # which takes the sign of -0.0
    if given.low is None or given.high is None:
        return words
    return words + ends.format(100 * given.low, 100 * given.high)
