"""How numbers of pairs, their ratios and fitted curves are put in words.

A bound is told as a bound: "more than 512 pairs: never reached", never "512".
"""

import math

from sweeps.curves.fits import CurveFit
from sweeps.curves.reach import Bounds, Reached


def describe_pairs(pairs: Bounds) -> str:
    """Return e.g. "310 pairs", "64 pairs or fewer" or "more than 512 pairs: never reached"."""
    low, high = pairs
    if math.isinf(high):
        return f"more than {low:,.0f} pairs: never reached"
    return f"{high:,.0f} pairs or fewer" if low == 0 else f"{high:,.0f} pairs"


def describe_ratio(reached: Reached) -> str:
    """Return e.g. "1.65 (1.10 to 2.90)", "below 0.84 (at most 1.20)" or "not known"."""
    low, high = reached.ratio
    if low == high:
        middle = f"{low:.2f}"
    elif low == 0 and math.isinf(high):
        middle = "not known"
    else:
        middle = f"below {high:.2f}" if low == 0 else f"above {low:.2f}"
        if low > 0 and math.isfinite(high):
            middle = f"between {low:.2f} and {high:.2f}"
    ends = reached.ratio_ends
    if ends is None or (middle == "not known" and describe_ends(ends) == "no bound"):
        return middle
    return f"{middle} ({describe_ends(ends)})"


def describe_ends(ends: Bounds) -> str:
    """Return e.g. "1.10 to 2.90", "at least 1.10", "at most 2.90" or "no bound"."""
    low, high = ends
    if low > 0 and math.isfinite(high):
        return f"{low:.2f} to {high:.2f}"
    if low > 0:
        return f"at least {low:.2f}"
    return f"at most {high:.2f}" if math.isfinite(high) else "no bound"


def describe_fit(fit: CurveFit) -> str:
    """Return the formula of a fitted curve, n being the number of pairs."""
    least = f"{fit.sizes[0]:.4g}"
    if fit.shape == "power":
        c, a, b = fit.parameters
        return f"error = {c:.4f} + {a:.4f} (n / {least})^-{b:.3f}"
    if fit.shape == "log_linear":
        c, a = fit.parameters
        return f"error = {c:.4f} - {a:.4f} ln(n / {least})"
    return f"isotonic over {len(fit.sizes)} sizes"
