"""Accuracy of many models in three layers, with intervals from one bootstrap by user.

The figures are those of `scpo.metrics.layered_accuracy`, for all models and layers at once: a
country's users are drawn together, whatever layer their pairs are in, and each figure is a ratio
of the drawn sums. With few users the interval is the widened one of `scpo.resampling`.

Legend: M models, P pairs, U users, R resamples.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from scpo.arrays import BoolArray, FloatArray
from scpo.metrics import LAYERS, Accuracy
from scpo.resampling import (
    NUM_RESAMPLES,
    divide_draws,
    quantile_ends,
    resample_sums,
    sum_by_user,
)


def layer_accuracies(
    margins: Mapping[str, FloatArray],
    reference_margin: ArrayLike,
    user: ArrayLike,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, Accuracy]]:
    """Return the accuracy of many models in each layer, all from the same resamples.

    Args:
        margins: Margins of each model, each of shape (P,), finite.
        reference_margin: d, which divides the layers at 0, shape (P,), finite.
        user: User of each pair, shape (P,).
        num_resamples: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        By model, then by layer ("overall", "distinctive", "consensus").

    Raises:
        ValueError: Shapes differ, or a margin is not finite.
    """
    reference = np.asarray(reference_margin, dtype=np.float64)
    rows = np.array(list(margins.values()), dtype=np.float64)
    if rows.shape != (len(margins), *reference.shape) or reference.shape != np.shape(user):
        raise ValueError(
            "margins, reference_margin and user must have one shape, but got "
            f"{rows.shape[1:]}, {reference.shape} and {np.shape(user)}."
        )
    if not (np.all(np.isfinite(rows)) and np.all(np.isfinite(reference))):
        raise ValueError("Margins must be finite to be counted, but some are not.")
    inside = np.stack([np.ones(reference.shape, dtype=np.bool_), reference < 0, reference >= 0])
    right = (rows > 0)[:, None, :] & inside
    sums = sum_by_user(np.concatenate([right.reshape(-1, reference.size), inside]), user)
    totals, counts = sums[: -len(LAYERS)].reshape(len(rows), len(LAYERS), -1), sums[-len(LAYERS) :]
    shares = _drawn_shares(sums, len(rows), num_resamples, seed)
    return {
        name: {
            layer: _layer(position, totals[row], counts, rows[row] == 0, inside, shares[:, row])
            for position, layer in enumerate(LAYERS)
        }
        for row, name in enumerate(margins)
    }


def _drawn_shares(sums: FloatArray, num_models: int, num_resamples: int, seed: int) -> FloatArray:
    """Return accuracy by resample, model and layer, shape (R, M, 3)."""
    if sums.shape[1] < 2:
        return np.zeros((0, num_models, len(LAYERS)))
    drawn = resample_sums(sums, num_resamples=num_resamples, seed=seed)
    totals = drawn[:, : -len(LAYERS)].reshape(num_resamples, num_models, len(LAYERS))
    return divide_draws(totals, drawn[:, None, -len(LAYERS) :])


def _layer(
    position: int,
    totals: FloatArray,
    counts: FloatArray,
    tied: BoolArray,
    inside: BoolArray,
    shares: FloatArray,
) -> Accuracy:
    """Return one model's accuracy in one layer."""
    pairs = int(counts[position].sum())
    users = int(np.count_nonzero(counts[position]))
    return Accuracy(
        float(totals[position].sum()) / pairs if pairs else None,
        *quantile_ends(shares[:, position], users),
        pairs,
        users,
        int(np.count_nonzero(tied & inside[position])),
    )
