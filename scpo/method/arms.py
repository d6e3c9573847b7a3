"""The arms of the experiment by name: which pairs an arm trains on, and with what weight.

    full      every pair, weight 1                    (tau = 1, beta = inf)
    filter    kept pairs, weight 1                    (tau,     beta = inf)
    weight    every pair, SCPO weight                 (tau = 1, beta)
    inverse   every pair, inverse weight
    scpo      kept pairs, SCPO weight                 (tau,     beta)
    random_k  as many random pairs as scpo keeps, weight 1
    user      every pair, the weight of its user      (user strength)
    global    no training: it has no selection here

In come reference margins (and for `user` the agreement of each pair's user), out come a mask and
weights; no text, no model. A point of the search multiplies SCPO's weights and the users'.
"""

import math
from dataclasses import dataclass, replace
from numbers import Real
from typing import Literal, get_args

import numpy as np

from scpo.arrays import BoolArray, FloatArray
from scpo.method.strength import beta_of_strength, margin_scale, retention_mask, tau_of_mask
from scpo.method.user_weights import user_weights
from scpo.method.weighting import (
    INVERSE_BETA,
    PAPER_BETA,
    PAPER_TAU,
    inverse_pair_weights,
    keep_mask,
    pair_weights,
)

TrainedArm = Literal["full", "filter", "weight", "inverse", "scpo", "random_k", "user"]
TRAINED_ARMS: tuple[str, ...] = get_args(TrainedArm)


@dataclass(frozen=True)
class Selection:
    """What one arm trains on.

    Attributes:
        keep: Shape (P,), the pairs trained on.
        weights: Shape (P,), the weight of each pair; those not kept have weight 0.
        tau: Filter threshold that `keep` amounts to; None where the arm has no threshold.
        beta: Weighting temperature; None for no weighting.
        user_strength: Strength of the users' weights; 0 for none.
    """

    keep: BoolArray
    weights: FloatArray
    tau: float | None
    beta: float | None
    user_strength: float = 0.0

    @property
    def numbers(self) -> dict[str, float | None]:
        """Return tau, beta and user strength, for records and models."""
        return {"tau": self.tau, "beta": self.beta, "user_strength": self.user_strength}


def select_arm(
    arm: str,
    reference_margin: FloatArray,
    *,
    tau: float = PAPER_TAU,
    beta: float = PAPER_BETA,
    seed: int = 0,
    agreement: FloatArray | None = None,
    user_strength: float = 0.0,
) -> Selection:
    """Return what a named arm, one of `TRAINED_ARMS`, trains on.

    In comes d of the country's training pairs, shape (P,). `tau` is for the arms that filter,
    `beta` for `weight` and `scpo`, `seed` for the choice of `random_k`; for `user` are
    `agreement`, of each pair's user, shape (P,), and `user_strength`.

    Raises:
        ValueError: No such arm, or `tau`, `beta` or the margins are out of range.
    """
    if arm not in TRAINED_ARMS:
        raise ValueError(f"arm must be one of {', '.join(TRAINED_ARMS)}, but got {arm!r}.")
    filtered = keep_mask(reference_margin, tau)
    everything = np.ones_like(filtered)
    ones = np.ones(filtered.shape, dtype=np.float64)
    if arm == "full":
        return _selection(everything, ones, 1.0, None)
    if arm == "filter":
        return _selection(filtered, ones, tau, None)
    if arm == "weight":
        return _selection(everything, pair_weights(reference_margin, beta), 1.0, beta)
    if arm == "inverse":
        weights = inverse_pair_weights(reference_margin, INVERSE_BETA)
        return _selection(everything, weights, 1.0, INVERSE_BETA)
    if arm == "scpo":
        return _selection(filtered, pair_weights(reference_margin, beta), tau, beta)
    if arm == "user":
        weights = _weights_of_users(ones, agreement, user_strength)
        return replace(_selection(everything, weights, 1.0, None), user_strength=user_strength)
    chosen = np.random.default_rng(seed).permutation(len(filtered))[: int(filtered.sum())]
    keep = np.zeros_like(filtered)
    keep[chosen] = True
    return _selection(keep, ones, None, None)


def check_setting(arm: str, tau: float, beta: float) -> None:
    """Refuse an arm's setting before rewards are computed for it.

    Raises:
        ValueError: No such arm, or a number is none, not finite or out of range.
    """
    for name, value in (("tau", tau), ("beta", beta)):
        if not isinstance(value, Real) or not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, but got {value!r:.40}.")
    select_arm(arm, np.zeros(1), tau=tau, beta=beta)


def select_setting(
    reference_margin: FloatArray,
    *,
    retention: float,
    strength: float,
    agreement: FloatArray | None = None,
    user_strength: float = 0.0,
) -> Selection:
    """Return what a point of the search space trains on, from d of shape (P,), P >= 2.

    `retention` is the share of the pairs kept, smallest margin first, in (0, 1]; `strength` is
    scale / beta with scale the standard deviation of d, 0 for no weighting. `user_strength`, of
    the weights from `agreement`, shape (P,), multiplies them. (1, 0, 0) is the arm `full`.

    Raises:
        ValueError: `retention` or `strength` is out of range, or margins do not differ.
    """
    beta = beta_of_strength(strength, margin_scale(reference_margin))
    weights = pair_weights(reference_margin, beta)
    keep = retention_mask(reference_margin, retention)
    selection = _selection(
        keep,
        _weights_of_users(weights, agreement, user_strength),
        tau_of_mask(reference_margin, keep),
        None if math.isinf(beta) else beta,
    )
    return replace(selection, user_strength=user_strength)


def _weights_of_users(
    weights: FloatArray, agreement: FloatArray | None, user_strength: float
) -> FloatArray:
    """Return weights times those of the users."""
    if user_strength == 0.0:
        return weights
    if agreement is None or agreement.shape != weights.shape:
        got = "none" if agreement is None else f"shape {agreement.shape}"
        raise ValueError(
            f"User strength {user_strength:g} needs the agreement of each pair's user, shape "
            f"{weights.shape}, but got {got}."
        )
    return weights * user_weights(agreement, user_strength)


def _selection(
    keep: BoolArray, weights: FloatArray, tau: float | None, beta: float | None
) -> Selection:
    return Selection(keep, np.where(keep, weights, 0.0), tau, beta)
