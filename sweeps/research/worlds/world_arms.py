"""Arms on a world of known utilities: tuned by left-out users, judged by the truth.

`tune_arm` does what a country's search does: it trains every setting without a fold of users,
judges it on that fold, and takes the setting that orders most left-out pairs right among those
that keep consensus accuracy. `judge_world` also judges by the known truth.

Legend: S settings, P pairs, D features.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import expit

from scpo.arrays import FloatArray
from scpo.heads.linear_heads import Heads, ProbedPairs, head_margins, judge_heads
from scpo.method.arms import Selection, select_arm
from scpo.method.strength import tau_of_retention
from scpo.method.weighting import effective_pairs
from sweeps.config import SearchConfig
from sweeps.probe.choose_heads import Select, rank_in_folds, train_selections
from sweeps.probe.head_settings import HeadSettings, draw_settings
from sweeps.research.worlds.worlds import WorldPairs

MEASURES = ("overall", "distinctive", "consensus", "truth")
SPACE = SearchConfig()
# Share of scpo's settings at retention 1 and strength 0, so that scpo can be `full` where that
# is better; drawn points almost never are.
_PLAIN_SHARE = 0.25
_draw = partial(draw_settings, l2=(1e-3, 10.0), steps=(2, 24))


@dataclass(frozen=True)
class Tuning:
    """How arms are tuned, all alike."""

    num_settings: int = 32  # settings tried, S
    folds: int = 4  # folds of users, left out in turn
    max_consensus_drop: float = SPACE.max_consensus_drop  # on left-out users


def draw_plain(tuning: Tuning, seed: int) -> HeadSettings:
    """Return settings of L2 and steps alone: every pair, no weighting."""
    return _draw(tuning.num_settings, retention=(1.0, 1.0), strength=(0.0, 0.0), seed=seed)


def draw_search(tuning: Tuning, seed: int) -> HeadSettings:
    """Return settings of scpo: first the plain ones, then points of a search's ranges."""
    num_plain = round(_PLAIN_SHARE * tuning.num_settings)
    plain = draw_plain(tuning, seed).take(np.arange(num_plain))
    num_searched = tuning.num_settings - num_plain
    searched = _draw(num_searched, retention=SPACE.retention, strength=SPACE.strength, seed=seed)
    columns = zip(vars(plain).values(), vars(searched).values(), strict=True)
    return HeadSettings(*(np.concatenate(column) for column in columns))


def select_random(retention: float, num_settings: int, seed: int) -> Select:
    """Return as many random pairs as a retention keeps, the same for each setting."""

    def select(pairs: ProbedPairs) -> list[Selection]:
        margin = pairs.reference_margin
        tau = tau_of_retention(margin, retention)
        return [select_arm("random_k", margin, tau=tau, seed=seed)] * num_settings

    return select


def tune_arm(
    pairs: WorldPairs, select: Select, settings: HeadSettings, tuning: Tuning
) -> tuple[int, Heads]:
    """Choose one of S settings by left-out users, and train every setting on all pairs.

    `select` says what each setting trains on, `settings` its pull and steps.

    Returns:
        Number of the chosen setting; change of each setting's head, shape (S, D).

    Raises:
        ValueError: No setting may start.
    """
    order = rank_in_folds(
        pairs,
        pairs.user % tuning.folds,
        select,
        l2=settings.l2,
        steps=settings.steps,
        max_consensus_drop=tuning.max_consensus_drop,
        may_start=_may_start,
    )
    if len(order) == 0:
        raise ValueError(f"No setting keeps enough of {len(pairs)} pairs to start. Give more.")
    selections = select(pairs)
    return int(order[0]), train_selections(pairs, selections, l2=settings.l2, steps=settings.steps)


def _may_start(selection: Selection) -> bool:
    return (
        int(selection.keep.sum()) >= SPACE.min_pairs
        and effective_pairs(selection.weights) >= SPACE.min_effective_pairs
    )


def judge_world(moved: Heads, test: WorldPairs) -> FloatArray:
    """Return `MEASURES` of heads, w - w0 of shape (S, D), on test users, shape (S, 4).

    "overall", "distinctive" and "consensus" are accuracies on the users' choices, outliers
    included. "truth" is the expected accuracy on the choices of typical users: that of a pair is
    sigmoid(utility margin) where the head orders it as the country does.

    Raises:
        ValueError: See `judge_heads`.
    """
    judged = judge_heads(moved, test)
    right = head_margins(moved, test) > 0
    agrees = expit(np.where(right, test.utility_margin, -test.utility_margin))
    consensus = 1.0 - judged.consensus_drop
    return np.stack([judged.accuracy, judged.distinctive, consensus, agrees.mean(axis=1)], axis=1)
