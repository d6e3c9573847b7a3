"""Arms on a world of known utilities: trained as one array program, tuned by users, judged.

`train_selections` trains a linear head for each selection of `scpo.method.arms`, with the probe's
array program. `tune_arm` does what a country's search does: train every setting without a fold
of users, judge it on that fold, and take the setting that orders most left-out pairs right among
those that keep consensus accuracy. `judge_world` adds what only a known truth can tell.

Legend: S settings, P pairs, D features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from scpo.arrays import BoolArray, FloatArray, IntArray
from scpo.method.arms import Selection, select_arm, select_setting
from scpo.method.strength import tau_of_retention
from scpo.method.weighting import effective_pairs
from sweeps.config import SearchConfig
from sweeps.probe.heads import Heads, HeadSettings, draw_settings, judge_heads, train_heads
from sweeps.research.worlds.worlds import WorldPairs

MEASURES = ("overall", "distinctive", "consensus", "truth")
L2 = (1e-3, 10.0)
STEPS = (2, 24)

Select = Callable[[FloatArray], Sequence[Selection]]
Fit = Callable[[WorldPairs], tuple[Heads, BoolArray]]  # heads (S, D), and which may start (S,)


@dataclass(frozen=True)
class Tuning:
    """How arms are tuned, all alike.

    Attributes:
        num_settings: Settings tried, S.
        folds: Parts of the users, each left out once.
        judged_folds: How many of them are left out; 1 is a single validation split.
        max_consensus_drop: How far consensus accuracy on left-out users may fall.
        plain_share: Share of scpo's settings at retention 1 and strength 0, so that scpo can
            be `full` where that is better; drawn points almost never are.
    """

    num_settings: int = 32
    folds: int = 4
    judged_folds: int = 4
    max_consensus_drop: float = SearchConfig().max_consensus_drop
    plain_share: float = 0.25


@dataclass(frozen=True)
class TunedArm:
    """What tuning found.

    Attributes:
        chosen: Position of the chosen setting.
        settings: What was tried.
        moved: Change of each setting's head, trained on all pairs, shape (S, D).
    """

    chosen: int
    settings: HeadSettings
    moved: Heads


def draw_plain(tuning: Tuning, seed: int) -> HeadSettings:
    """Return settings of L2 and steps alone: every pair, no weighting."""
    return draw_settings(
        tuning.num_settings,
        retention=(1.0, 1.0),
        strength=(0.0, 0.0),
        l2=L2,
        steps=STEPS,
        seed=seed,
    )


def draw_search(tuning: Tuning, seed: int) -> HeadSettings:
    """Return settings of scpo: first the plain ones, then points of a search's ranges."""
    space = SearchConfig()
    num_plain = round(tuning.plain_share * tuning.num_settings)
    plain = draw_plain(tuning, seed).take(np.arange(num_plain))
    searched = draw_settings(
        tuning.num_settings - num_plain,
        retention=space.retention,
        strength=space.strength,
        l2=L2,
        steps=STEPS,
        seed=seed,
    )
    names = ("retention", "strength", "l2", "steps")
    both = [np.concatenate([getattr(part, name) for part in (plain, searched)]) for name in names]
    return HeadSettings(*both)


def select_each(settings: HeadSettings) -> Select:
    """Return the selections of retention and strength of each setting."""

    def select(margin: FloatArray) -> list[Selection]:
        return [
            select_setting(margin, retention=share, strength=strength)
            for share, strength in zip(
                settings.retention.tolist(), settings.strength.tolist(), strict=True
            )
        ]

    return select


def select_same(arm: str, num_settings: int) -> Select:
    """Return an arm's selection at the paper's constants, the same for each setting."""
    return lambda margin: [select_arm(arm, margin)] * num_settings


def select_random(retention: float, num_settings: int, seed: int) -> Select:
    """Return as many random pairs as a retention keeps, the same for each setting."""

    def select(margin: FloatArray) -> list[Selection]:
        tau = tau_of_retention(margin, retention)
        return [select_arm("random_k", margin, tau=tau, seed=seed)] * num_settings

    return select


def train_selections(
    pairs: WorldPairs, selections: Sequence[Selection], *, l2: FloatArray, steps: IntArray
) -> Heads:
    """Train a head for each selection and return how far it moved, shape (S, D).

    Weights above 1, of the inverse arm, are divided by their largest, and so is l2.

    Args:
        pairs: Training pairs.
        selections: S of them, for these pairs.
        l2: Pull towards the global head, shape (S,).
        steps: Steps, shape (S,).

    Raises:
        ValueError: As of `train_heads`.
    """
    weights = np.stack([selection.weights for selection in selections])
    num_kept = np.array([np.count_nonzero(selection.keep) for selection in selections])
    largest = np.maximum(1.0, weights.max(axis=1))
    return train_heads(
        pairs.differences,
        pairs.reference_margin,
        weights / largest[:, None],
        num_kept,
        l2=l2 / largest,
        steps=steps,
    )


def tune_arm(
    pairs: WorldPairs, select: Select, settings: HeadSettings, tuning: Tuning
) -> TunedArm:
    """Tune an arm that trains on what it selects of the country's own pairs.

    `select` says what each of the S settings trains on; the rest is as of `tune_fit`.

    Raises:
        ValueError: As of `tune_fit` or `train_heads`.
    """

    def fit(part: WorldPairs) -> tuple[Heads, BoolArray]:
        selections = select(part.reference_margin)
        moved = train_selections(part, selections, l2=settings.l2, steps=settings.steps)
        return moved, may_start(selections)

    return tune_fit(pairs, fit, settings, tuning)


def tune_fit(pairs: WorldPairs, fit: Fit, settings: HeadSettings, tuning: Tuning) -> TunedArm:
    """Choose a setting by left-out users, and train every setting on all pairs.

    Of settings that may start and keep the constraint in the mean of the folds' pairs, the most
    accurate is chosen; of equals, that of least loss. Where none keeps the constraint, consensus
    accuracy decides.

    Args:
        pairs: All pairs of the users to train and tune on.
        fit: Trains every setting on some of the pairs.
        settings: The S settings.
        tuning: Folds and constraint.

    Raises:
        ValueError: No setting may start.
    """
    right, drop, loss = (np.zeros(len(settings)) for _ in range(3))
    started = np.ones(len(settings), dtype=np.bool_)
    num_consensus = 0
    for fold in range(tuning.judged_folds):
        out = pairs.user % tuning.folds == fold
        left = pairs.take(out)
        moved, starts = fit(pairs.take(~out))
        started &= starts
        judged = judge_heads(moved, left.differences, left.reference_margin, left.reference_margin)
        consensus = int(np.count_nonzero(left.reference_margin >= 0))
        right += judged.accuracy * len(left)
        drop += judged.consensus_drop * consensus
        loss += judged.loss * len(left)
        num_consensus += consensus
    if not started.any():
        raise ValueError(f"No setting keeps enough of {len(pairs)} pairs to start. Give more.")
    excess = np.maximum(drop / max(num_consensus, 1) - tuning.max_consensus_drop, 0.0)
    chosen = int(np.lexsort((loss, -right, excess, ~started))[0])
    return TunedArm(chosen, settings, fit(pairs)[0])


def may_start(selections: Sequence[Selection]) -> BoolArray:
    """Tell which selections keep enough for a search to start them, shape (S,)."""
    space = SearchConfig()
    return np.array(
        [
            int(selection.keep.sum()) >= space.min_pairs
            and effective_pairs(selection.weights) >= space.min_effective_pairs
            for selection in selections
        ]
    )


def judge_world(moved: Heads, test: WorldPairs) -> FloatArray:
    """Return the figures of heads on test users, shape (S, 4), in the order of `MEASURES`.

    "overall", "distinctive" and "consensus" are accuracies on the users' choices, outliers
    included. "truth" is the expected accuracy on the choices of typical users: that of a pair is
    sigmoid(utility margin) where the head orders it as the country does.

    Args:
        moved: Change of each head from the global one, shape (S, D).
        test: Pairs of test users.

    Raises:
        ValueError: As of `judge_heads`.
    """
    reference = test.reference_margin
    judged = judge_heads(moved, test.differences, reference, reference)
    margin = reference + moved.astype(np.float64) @ test.differences.T.astype(np.float64)
    agrees = expit(np.where(margin > 0, test.utility_margin, -test.utility_margin))
    return np.stack(
        [
            judged.accuracy,
            judged.distinctive,
            1.0 - judged.consensus_drop,
            agrees.mean(axis=1),
        ],
        axis=1,
    )
