"""An accuracy and a difference with their intervals, as people read them."""


def format_accuracy(accuracy: float | None, low: float | None, high: float | None) -> str:
    """Return e.g. "64.1 % (58.9-69.0)"; without an interval only the share."""
    if accuracy is None:
        return "no pairs"
    if low is None or high is None:
        return f"{100 * accuracy:.1f} %"
    return f"{100 * accuracy:.1f} % ({100 * low:.1f}-{100 * high:.1f})"


def format_difference(mean: float | None, low: float | None, high: float | None) -> str:
    """Return a difference in points, e.g. "+1.2 (-0.8 to +3.0)"; "" for none."""
    if mean is None:
        return ""
    if low is None or high is None:
        return f"{100 * mean:+.1f}"
    return f"{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
