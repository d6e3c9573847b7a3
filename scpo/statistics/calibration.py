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

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from scpo.arrays import FloatArray, IntArray, Row
from scpo.statistics.binned import binned_intervals, same_rank_bins

_NUM_BINS = 10
NUM_SIMULATIONS = 200


def calibration(margin: ArrayLike) -> Row:
    """Return how far the probabilities of margins are from what happens, as a row of a table.

    `margin` is m = r(y+) - r(y-), shape (P,), P >= 1.

    Returns:
        By column: `ece_width` and `ece_mass`, 0..1, over bins of equal width and of equal mass;
        `ece_if_calibrated`, the mean `ece_width` of outcomes drawn from the model's own
        confidences, pairs taken for independent; `brier`, 0..1; `nll` of a pair, in nats;
        `confidence`, the mean one in the preferred side, 0.5..1; `right`, the share of pairs
        where that side was chosen, a tie counting 1/2; `pairs` and `ties`, those with m = 0.

    Raises:
        ValueError: No pair, or a margin that is not finite.
    """
    margins = _checked(margin)
    confidence, right = _confidence(margins), _right(margins)
    by_width = _equal_width(confidence)
    by_mass = same_rank_bins(confidence, _NUM_BINS)
    rng = np.random.default_rng(0)
    simulated = [
        _bin_error(rng.random(len(confidence)) < confidence, confidence, by_width)
        for _ in range(NUM_SIMULATIONS)
    ]
    return {
        "ece_width": _bin_error(right, confidence, by_width),
        "ece_mass": _bin_error(right, confidence, by_mass),
        "ece_if_calibrated": float(np.mean(simulated)),
        "brier": float(np.mean(expit(-margins) ** 2)),
        "nll": float(np.mean(np.logaddexp(0.0, -margins))),
        "confidence": float(confidence.mean()),
        "right": float(right.mean()),
        "pairs": len(margins),
        "ties": int(np.count_nonzero(margins == 0)),
    }


def reliability_table(margin: ArrayLike, user: ArrayLike) -> list[Row]:
    """Return the bins of equal width that hold a pair, low confidence first, as rows.

    `margin`, P >= 1, and the user of each pair are of shape (P,).

    Returns:
        By column: `lowest` and `highest`, the edges of the bin; `confidence`, the mean one in
        the preferred side; `right`, the share of pairs where that side was chosen, with its
        interval's `low` and `high`; `pairs` and `users`.

    Raises:
        ValueError: No pair, shapes differ, or a margin that is not finite.
    """
    margins = _checked(margin)
    confidence, right = _confidence(margins), _right(margins)
    edges = np.linspace(0.5, 1.0, _NUM_BINS + 1).tolist()
    return [
        {
            "lowest": edges[number],
            "highest": edges[number + 1],
            "confidence": float(confidence[inside].mean()),
            **figure.columns("right"),
            "pairs": int(inside.sum()),
            "users": figure.users,
        }
        for number, inside, figure in binned_intervals(right, _equal_width(confidence), user)
    ]


def _checked(margin: ArrayLike) -> FloatArray:
    """Return margins as float64, refusing what cannot be judged."""
    margins = np.asarray(margin, dtype=np.float64)
    if margins.ndim != 1 or margins.size == 0 or not np.all(np.isfinite(margins)):
        raise ValueError(
            "Margins must be of shape (P,), P >= 1, and finite to be calibrated, but got shape "
            f"{margins.shape} with {np.count_nonzero(~np.isfinite(margins))} not finite."
        )
    return margins


def _confidence(margins: FloatArray) -> FloatArray:
    """Return the probability of the side that the model prefers, 0.5..1."""
    return np.asarray(expit(np.abs(margins)))


def _right(margins: FloatArray) -> FloatArray:
    """Return 1 where the preferred side was chosen, 0 where not, 1/2 for a tie."""
    return (np.sign(margins) + 1) / 2


def _equal_width(confidence: FloatArray) -> IntArray:
    inner_edges = np.linspace(0.5, 1.0, _NUM_BINS + 1)[1:-1]
    return np.searchsorted(inner_edges, confidence, side="right")


def _bin_error(right: ArrayLike, confidence: FloatArray, number: IntArray) -> float:
    """Return the sum over bins of |sum of (right - confidence)|, over the pairs."""
    gaps = np.bincount(number, weights=np.asarray(right) - confidence)
    return float(np.abs(gaps).sum() / len(confidence))
