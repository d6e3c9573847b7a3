"""Arms on a world of known utilities: tuned by left-out users, judged by the truth.

Every setting is trained without a fold of users and judged on that fold. `tune_arm` takes the one
that orders most left-out pairs right, of those not shown to lose consensus accuracy; `tune_scpo`
does what a country's search does and keeps `full`, or the global model, unless a setting of scpo
is shown to be better. `judge_world` also judges by the known truth.

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
from sweeps.ledger.words import KEPT_GLOBAL
from sweeps.probe.choose_heads import Select, deal_often, judge_in_folds, train_selections
from sweeps.probe.fold_choice import FoldCounts, choose_in_folds
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
    folds: int = 3  # folds of users, left out in turn
    deals: int = 2  # times that users are dealt into them
    caution: float = SPACE.caution  # of the choice of scpo over full
    vetted: bool = False  # whether typical users alone judge; all users train
    max_consensus_drop: float = SPACE.max_consensus_drop  # on left-out users


@dataclass(frozen=True)
class TunedArm:
    """What a tuned arm chose, and its head."""

    retention: float  # share of pairs kept; `KEPT_GLOBAL` for the global model
    strength: float  # weighting strength
    moved: Heads  # change of its head, shape (1, D)


def draw_plain(tuning: Tuning, seed: int) -> HeadSettings:
    """Return settings of L2 and steps alone: every pair, no weighting."""
    return _draw(tuning.num_settings, retention=(1.0, 1.0), strength=(0.0, 0.0), seed=seed)


def draw_search(tuning: Tuning, seed: int) -> HeadSettings:
    """Return settings of scpo: first the plain ones, then points of a search's ranges."""
    num_plain = round(_PLAIN_SHARE * tuning.num_settings)
    plain = draw_plain(tuning, seed).take(np.arange(num_plain))
    num_searched = tuning.num_settings - num_plain
    searched = _draw(num_searched, retention=SPACE.retention, strength=SPACE.strength, seed=seed)
    return _join(plain, searched)


def _join(first: HeadSettings, second: HeadSettings) -> HeadSettings:
    columns = zip(vars(first).values(), vars(second).values(), strict=True)
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
    """Choose the best of S settings by left-out users, and train it on all pairs.

    `select` says what each setting trains on, `settings` its pull and steps.

    Returns:
        Number of the chosen setting; change of its head, shape (1, D).

    Raises:
        ValueError: No setting may start.
    """
    order = _judge(pairs, select, settings, tuning).order(tuning.max_consensus_drop)
    if len(order) == 0:
        raise ValueError(f"No setting keeps enough of {len(pairs)} pairs to start. Give more.")
    return int(order[0]), _train(pairs, select, settings, int(order[0]))


def tune_scpo(pairs: WorldPairs, tuning: Tuning, seed: int) -> dict[str, TunedArm]:
    """Return tuned `full` and `scpo` of a world, which is the former where nothing is surer.

    Both choose of as many settings, `full` the most accurate; then the rule of a search decides.

    Raises:
        ValueError: No setting of `full` may start.
    """
    settings = _join(draw_plain(tuning, seed), draw_search(tuning, seed))
    counts = _judge(pairs, settings.select, settings, tuning)
    order = counts.order(tuning.max_consensus_drop)
    plain = order[order < tuning.num_settings]
    if len(plain) == 0:
        raise ValueError(f"No setting keeps enough of {len(pairs)} pairs to start. Give more.")
    full = int(plain[0])
    found = choose_in_folds(
        counts,
        full,
        order[order >= tuning.num_settings],
        caution=tuning.caution,
        max_consensus_drop=tuning.max_consensus_drop,
    )
    arms = {}
    for name, row in (("full", full), ("scpo", found)):
        if row is None:
            unmoved = np.zeros((1, pairs.differences.shape[1]), dtype=pairs.differences.dtype)
            arms[name] = TunedArm(KEPT_GLOBAL, 0.0, unmoved)
            continue
        moved = _train(pairs, settings.select, settings, row)
        numbers = float(settings.retention[row]), float(settings.strength[row])
        arms[name] = TunedArm(*numbers, moved)
    return arms


def _judge(
    pairs: WorldPairs, select: Select, settings: HeadSettings, tuning: Tuning
) -> FoldCounts:
    counts = judge_in_folds(
        pairs,
        deal_often(pairs.user.astype(np.str_), tuning.folds, tuning.deals, seed=0),
        select,
        l2=settings.l2,
        steps=settings.steps,
        may_start=_may_start,
    )
    return counts.of_users(pairs.user[pairs.is_typical]) if tuning.vetted else counts


def _train(pairs: WorldPairs, select: Select, settings: HeadSettings, row: int) -> Heads:
    selection = select(pairs)[row]
    one = settings.take(np.array([row]))
    return train_selections(pairs, [selection], l2=one.l2, steps=one.steps)


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
