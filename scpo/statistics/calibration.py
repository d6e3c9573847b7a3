"""Whether sigmoid(r+ - r-) means what it says: the share of pairs that go as it foretells.

Every pair is written with the chosen response first, so "chosen wins" is always true and says
nothing. Here each pair stands in both orders: p = sigmoid(m) with outcome 1, and p = sigmoid(-m)
with outcome 0. The two are mirror images, so it is enough to look at the side that the model
prefers: its confidence c = sigmoid(|m|), in 0.5..1, and whether it is right (1 for m > 0, 0 for
m < 0, and 1/2 for a tie, which is right in one order of two). With P pairs

    ECE    sum over bins of |sum of (right - c)| / P          0 is calibrated
    Brier  mean of sigmoid(-m)^2                              0.25 for always 1/2
    NLL    mean of softplus(-m), in nats                      0.693 for always 1/2

Bins are of equal width over 0.5..1, or of equal mass; equal confidences share a bin. With few
pairs ECE is above 0 also for a calibrated model: `ece_if_calibrated` tells by how much.

Reference:
    Guo et al., On Calibration of Modern Neural Networks, 2017, section 2.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from scpo.arrays import FloatArray, IntArray, Row
from scpo.statistics.bootstrap import (
    NUM_RESAMPLES,
    divide_draws,
    drawn_interval,
    resample_sums,
    sum_by_user,
)

NUM_BINS = 10
NUM_SIMULATIONS = 200

Bins = Literal["width", "mass"]


@dataclass(frozen=True)
class Calibration:
    """How far a model's probabilities are from what happens.

    Attributes:
        ece_width: Expected calibration error over bins of equal width, 0..1.
        ece_mass: The same over bins of equal mass.
        ece_if_calibrated: Mean `ece_width` of outcomes drawn from the model's own confidences,
            pairs taken for independent.
        brier: Brier score, 0..1.
        nll: Negative log-likelihood of a pair, in nats.
        confidence: Mean confidence in the preferred side, 0.5..1.
        right: Share of pairs where that side was chosen, a tie counting 1/2.
        pairs: Number of pairs.
        ties: Pairs with m = 0.
    """

    ece_width: float
    ece_mass: float
    ece_if_calibrated: float
    brier: float
    nll: float
    confidence: float
    right: float
    pairs: int
    ties: int


def calibration(margin: ArrayLike, *, num_bins: int = NUM_BINS, seed: int = 0) -> Calibration:
    """Return the calibration of margins.

    Args:
        margin: m = r(y+) - r(y-), shape (P,), finite, P >= 1.
        num_bins: Bins over the confidences 0.5..1.
        seed: Seed of the outcomes drawn for `ece_if_calibrated`.

    Raises:
        ValueError: No pair, a margin that is not finite, or no bin.
    """
    margins = _checked(margin, num_bins)
    confidence, right = _confidence(margins), _right(margins)
    by_width = _bin_numbers(confidence, num_bins, "width")
    by_mass = _bin_numbers(confidence, num_bins, "mass")
    rng = np.random.default_rng(seed)
    simulated = [
        _bin_error(rng.random(len(confidence)) < confidence, confidence, by_width)
        for _ in range(NUM_SIMULATIONS)
    ]
    return Calibration(
        ece_width=_bin_error(right, confidence, by_width),
        ece_mass=_bin_error(right, confidence, by_mass),
        ece_if_calibrated=float(np.mean(simulated)),
        brier=float(np.mean(expit(-margins) ** 2)),
        nll=float(np.mean(np.logaddexp(0.0, -margins))),
        confidence=float(confidence.mean()),
        right=float(right.mean()),
        pairs=len(margins),
        ties=int(np.count_nonzero(margins == 0)),
    )


def reliability_table(
    margin: ArrayLike,
    user: ArrayLike,
    *,
    bins: Bins = "width",
    num_bins: int = NUM_BINS,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[Row]:
    """Return the bins that hold a pair, from low confidence to high, as rows of a table.

    Args:
        margin: m = r(y+) - r(y-), shape (P,), finite, P >= 1.
        user: User of each pair, shape (P,).
        bins: "width" or "mass".
        num_bins: Bins over the confidences 0.5..1.
        num_resamples: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        By column: `lowest` and `highest`, the edges of an equal-width bin or the ends of the
        confidences in an equal-mass bin; `confidence`, the mean one in the preferred side;
        `right`, the share of pairs where that side was chosen, with its interval's `low` and
        `high`; `pairs` and `users`.

    Raises:
        ValueError: No pair, shapes differ, a margin that is not finite, or no bin.
    """
    margins = _checked(margin, num_bins)
    confidence, right = _confidence(margins), _right(margins)
    number = _bin_numbers(confidence, num_bins, bins)
    inside = np.arange(num_bins)[:, None] == number
    sums = sum_by_user(np.concatenate([inside * right, inside * 1.0]), user)
    drawn = resample_sums(sums, num_resamples=num_resamples, seed=seed)
    shares = divide_draws(drawn[:, :num_bins], drawn[:, num_bins:])
    table = []
    for bin_number in np.unique(number).tolist():
        here = confidence[inside[bin_number]]
        users = int(np.count_nonzero(sums[num_bins + bin_number]))
        share = float(right[inside[bin_number]].mean())
        edges = [here.min(), here.max()]
        if bins == "width":
            edges = np.linspace(0.5, 1.0, num_bins + 1)[bin_number : bin_number + 2].tolist()
        table.append(
            {
                "lowest": float(edges[0]),
                "highest": float(edges[1]),
                "confidence": float(here.mean()),
                **drawn_interval(share, shares[:, bin_number], users).columns("right"),
                "pairs": len(here),
                "users": users,
            }
        )
    return table


def _checked(margin: ArrayLike, num_bins: int) -> FloatArray:
    """Return margins as float64, refusing what cannot be judged."""
    margins = np.asarray(margin, dtype=np.float64)
    if margins.ndim != 1 or margins.size == 0 or not np.all(np.isfinite(margins)):
        raise ValueError(
            "Margins must be of shape (P,), P >= 1, and finite to be calibrated, but got shape "
            f"{margins.shape} with {np.count_nonzero(~np.isfinite(margins))} not finite."
        )
    if num_bins < 1:
        raise ValueError(f"`num_bins >= 1` must hold, but got {num_bins}.")
    return margins


def _confidence(margins: FloatArray) -> FloatArray:
    """Return the probability of the side that the model prefers, 0.5..1."""
    return np.asarray(expit(np.abs(margins)))


def _right(margins: FloatArray) -> FloatArray:
    """Return 1 where the preferred side was chosen, 0 where not, 1/2 for a tie."""
    return (np.sign(margins) + 1) / 2


def _bin_numbers(confidence: FloatArray, num_bins: int, bins: Bins) -> IntArray:
    """Return each pair's bin; equal mass goes by how many confidences are smaller."""
    if bins == "width":
        inner_edges = np.linspace(0.5, 1.0, num_bins + 1)[1:-1]
        return np.searchsorted(inner_edges, confidence, side="right")
    rank = np.searchsorted(np.sort(confidence), confidence, side="left")
    return np.asarray(rank * num_bins // len(confidence), dtype=np.int64)


def _bin_error(right: ArrayLike, confidence: FloatArray, number: IntArray) -> float:
    """Return the sum over bins of |sum of (right - confidence)|, over the pairs."""
    gaps = np.bincount(number, weights=np.asarray(right) - confidence)
    return float(np.abs(gaps).sum() / len(confidence))
