"""Settings of many heads, drawn from the box of a search.

The figures of the search (retention, strength, user strength) are drawn evenly, pull and steps
logarithmically.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from scpo.arrays import FloatArray, IntArray
from scpo.heads.linear_heads import ProbedPairs
from scpo.heads.user_margins import agreement_of_users
from scpo.method.arms import Selection, select_setting

_FACE = 1 / 8  # share of draws without a filter, and of draws without weighting
_USER_FACE = 1 / 2  # the same of draws without weighting of users

_Range = tuple[float, float]


@dataclass(frozen=True)
class HeadSettings:
    """S settings of heads, each array of shape (S,)."""

    retention: FloatArray  # share of the pairs kept, smallest reference margin first
    strength: FloatArray  # weighting strength
    user_strength: FloatArray  # of the users' weights
    l2: FloatArray  # pull to the global head, in units of the total curvature
    steps: IntArray  # steps of the training

    def __len__(self) -> int:
        return len(self.retention)

    def take(self, which: IntArray) -> "HeadSettings":
        """Return the named settings, in the order named."""
        return HeadSettings(*(column[which] for column in vars(self).values()))

    def select(self, pairs: ProbedPairs) -> list[Selection]:
        """Return what each setting selects of a country's training pairs."""
        agreement = agreement_of_users(pairs) if self.user_strength.any() else None
        columns = (self.retention, self.strength, self.user_strength)
        return [
            select_setting(
                pairs.reference_margin,
                retention=retention,
                strength=strength,
                agreement=agreement,
                user_strength=user_strength,
            )
            for retention, strength, user_strength in np.stack(columns, axis=1).tolist()
        ]


def draw_settings(
    num_settings: int,
    *,
    retention: _Range,
    strength: _Range,
    l2: _Range,
    steps: tuple[int, int],
    seed: int,
    user_strength: _Range = (0.0, 0.0),
) -> HeadSettings:
    """Return scrambled Sobol points of the box of ranges; l2 and steps are logarithmic.

    An eighth of them has the largest retention, an eighth the smallest strength and half the
    smallest user strength, so that plain fine-tuning (1, 0, 0) is among them where the box holds
    it.

    Raises:
        ValueError: There are no settings, or the range of l2 or steps does not ascend or is not
            positive.
    """
    if num_settings < 1:
        raise ValueError(f"`num_settings >= 1` must hold, but got {num_settings}.")
    for name, (low, high) in (("l2", l2), ("steps", steps)):
        if not 0 < low <= high < math.inf:
            raise ValueError(f"`0 < low <= high` must hold for {name}, but got {low}, {high}.")
    weighs_users = user_strength[1] > user_strength[0]
    sampler = qmc.Sobol(4 + weighs_users, rng=np.random.default_rng(seed))
    unit = sampler.random_base2(max(0, math.ceil(math.log2(num_settings))))[:num_settings].T
    of_users = unit[4] if weighs_users else np.zeros(num_settings)
    return HeadSettings(
        _spread(retention[::-1], unit[0], _FACE),
        _spread(strength, unit[1], _FACE),
        _spread(user_strength, of_users, _USER_FACE),
        _logarithmic(unit[2], l2),
        np.rint(_logarithmic(unit[3], steps)).astype(np.int64),
    )


def _spread(ends: _Range, unit: FloatArray, face: float) -> FloatArray:
    """Return draws of 0..1 spread between two ends, a share `face` of them on the first."""
    return np.asarray(
        ends[0] + (ends[1] - ends[0]) * np.maximum(0.0, (unit - face) / (1.0 - face))
    )


def _logarithmic(unit: FloatArray, bounds: _Range) -> FloatArray:
    low, high = bounds
    return np.asarray(low * (high / low) ** unit)
