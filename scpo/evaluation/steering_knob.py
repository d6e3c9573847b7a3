"""Between the global model and a country's, without training: r = (1 - s) r_global + s r_country.

Rewards are linear in s, so margins are too, and a curve over s in 0..1 costs no forward pass. The
s to use is the one that validation users prefer; test users only judge it. Several countries'
models mix the same way, with weights that sum to 1. It makes sense for models that were trained
from one global model, whose rewards have one scale.

Legend: P pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scpo.arrays import FloatArray
from scpo.statistics.accuracy import Accuracy, layer_accuracies
from scpo.statistics.bootstrap import NUM_RESAMPLES

STEPS = 21  # 0, 0.05, ..., 1


@dataclass(frozen=True)
class KnobPoint:
    """Accuracy of the mixture at one s.

    Attributes:
        share: s, 0 for the global model, 1 for the country's.
        layers: Accuracy by layer: "overall", "distinctive", "consensus".
    """

    share: float
    layers: dict[str, Accuracy]

    @property
    def overall(self) -> float:
        """Return overall accuracy."""
        accuracy = self.layers["overall"].interval.value
        assert accuracy is not None  # a curve has pairs
        return accuracy


def knob_curve(
    global_margin: ArrayLike,
    country_margin: ArrayLike,
    user: ArrayLike,
    *,
    shares: Sequence[float] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[KnobPoint]:
    """Return accuracy by layer against s.

    Args:
        global_margin: Margins of the global model, which divide the layers too, (P,), P >= 1.
        country_margin: Margins of the country's model, shape (P,).
        user: User of each pair, shape (P,).
        shares: Values of s, each in 0..1; None for 0, 0.05, ..., 1.
        num_resamples: Bootstrap draws, the same at every s.
        seed: Seed of the draws.

    Raises:
        ValueError: Shapes differ, a margin is not finite, no pair, or an s outside 0..1.
    """
    reference = np.asarray(global_margin, dtype=np.float64)
    even = np.arange(STEPS) / (STEPS - 1)
    points = even if shares is None else np.asarray(shares, dtype=np.float64)
    if np.any((points < 0) | (points > 1)):
        raise ValueError(f"`0 <= s <= 1` must hold for every share, but got {shares}.")
    if reference.size == 0:
        raise ValueError("A curve needs at least one pair, but there is none.")
    ends = {"global": reference, "country": np.asarray(country_margin, dtype=np.float64)}
    margins = {str(s): mix_margins(ends, {"global": 1 - s, "country": s}) for s in points.tolist()}
    found = layer_accuracies(margins, reference, user, num_resamples=num_resamples, seed=seed)
    return [KnobPoint(float(s), found[str(s)]) for s in points.tolist()]


def preferred_share(curve: Sequence[KnobPoint]) -> float:
    """Return the s of the highest overall accuracy; of equals the smallest, which moves least.

    Args:
        curve: The curve of the validation users.

    Raises:
        ValueError: No point.
    """
    if not curve:
        raise ValueError("A curve must have a point to prefer, but it has none.")
    return min(curve, key=lambda point: (-point.overall, point.share)).share


def mix_margins(margins: Mapping[str, ArrayLike], weights: Mapping[str, float]) -> FloatArray:
    """Return the margins of a mixture of models, sum of weight times margin, shape (P,).

    Args:
        margins: Margins by model, each of shape (P,).
        weights: Weights by model, >= 0, that sum to 1; models without one are left out.

    Raises:
        ValueError: A weight is negative or of no model, they do not sum to 1, or shapes differ.
    """
    unknown = sorted(set(weights) - set(margins))
    total = sum(weights.values())
    if unknown or min(weights.values(), default=0) < 0 or not np.isclose(total, 1.0, atol=1e-9):
        raise ValueError(
            "Weights must be of known models, not negative and sum to 1, but got "
            f"{dict(weights)} for the models {', '.join(margins)}."
        )
    used = [np.asarray(margins[name], dtype=np.float64) for name in weights]
    if len({margin.shape for margin in used}) != 1:
        raise ValueError(
            f"Margins must have one shape, but got {[margin.shape for margin in used]}."
        )
    # An end is that model itself to the bit: 0 times the other and a rounded sum would not be.
    terms = [
        margin if weight == 1 else weight * margin
        for margin, weight in zip(used, weights.values(), strict=True)
        if weight
    ]
    return np.asarray(sum(terms[1:], start=terms[0]))
