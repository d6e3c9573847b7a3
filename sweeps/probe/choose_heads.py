"""Train many heads at once and choose among them by accuracy on held-out folds of users.

Input: pairs as differences of frozen features, and the user of each. Output: one head an arm.
Every arm chooses its pull to the global head, and `scpo_tuned` retention and strength too, on
inner folds of the training users, dealt more than once; then it is trained on all of them. The
choice never sees held-out users, so it does not bias an arm's accuracy on them.

Legend: P pairs, S candidates, D features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scpo.arrays import FloatArray, IntArray
from scpo.heads.linear_heads import Heads, ProbedPairs, head_margins, train_heads
from scpo.heads.user_margins import MIN_USERS, agreement_of_users, gated_strength
from scpo.method.arms import Selection, select_arm, select_setting
from scpo.method.user_weights import default_user_strength
from scpo.statistics.user_folds import deal_users
from sweeps.config import HeadsConfig
from sweeps.ledger.words import BASELINE, HEAD_ARMS, KEPT_GLOBAL, TUNED_ARM, USER
from sweeps.probe.fold_choice import FoldCounts, choose_in_folds, count_margins
from sweeps.probe.head_settings import draw_settings

_USER_STRENGTHS = (0.5, 1.0, 2.0)  # tried alone, beside those drawn with weights of pairs

Select = Callable[[ProbedPairs], Sequence[Selection]]  # of pairs by margin, S selections


@dataclass(frozen=True)
class Candidate:
    """A setting that an arm may choose; retention and strengths only of `scpo_tuned`."""

    arm: str
    l2: float
    retention: float | None = None
    strength: float | None = None
    user_strength: float | None = None


@dataclass(frozen=True)
class ChosenHead:
    """The head of one arm."""

    candidate: Candidate  # the setting chosen
    moved: Heads  # w - w0, shape (D,)
    pairs_trained: int  # pairs kept


def list_candidates(config: HeadsConfig, arms: Sequence[str] = HEAD_ARMS) -> list[Candidate]:
    """Return what each arm chooses from; `full` is among the candidates of `scpo_tuned`.

    So are weights of users alone, where `config` searches these.
    """
    named = [Candidate(arm, l2) for arm in arms if arm != TUNED_ARM for l2 in config.l2]
    if TUNED_ARM not in arms:
        return named
    drawn = draw_settings(
        config.num_settings,
        retention=config.retention,
        strength=config.strength,
        user_strength=config.user_strength,
        l2=(min(config.l2), max(config.l2)),
        steps=(config.steps, config.steps),
        seed=0,
    )
    columns = (drawn.l2, drawn.retention, drawn.strength, drawn.user_strength)
    low, high = config.user_strength
    users = [each for each in _USER_STRENGTHS if low <= each <= high]
    plain = [
        Candidate(TUNED_ARM, l2, 1.0, 0.0, each) for each in (0.0, *users) for l2 in config.l2
    ]
    searched = [Candidate(TUNED_ARM, *row) for row in np.stack(columns, axis=1).tolist()]
    return named + plain + searched


def choose_heads(
    pairs: ProbedPairs,
    config: HeadsConfig,
    *,
    seed: int,
    arms: Sequence[str] = HEAD_ARMS,
    judges: NDArray[Any] | None = None,
) -> dict[str, ChosenHead]:
    """Return the head of each arm, from a country's training pairs.

    Every arm takes its most accurate pull. `scpo_tuned` is `full`, or the global model where that
    is shown to be better, unless the lower bound of a setting's gain over that is above 0.
    `config` has candidates, inner folds and constants; `seed` is of inner folds and `random_k`.
    Every user trains; only those of `judges` judge, all where it is None or names fewer than two.

    Raises:
        ValueError: Too few users for the inner folds or for the arm `user`, or margins that do
            not differ.
    """
    if USER in arms and (num_users := len(np.unique(pairs.user))) < MIN_USERS:
        raise ValueError(f"The arm `user` needs {MIN_USERS} users, but there are {num_users}.")
    wanted = dict.fromkeys((*arms, BASELINE) if TUNED_ARM in arms else arms)
    candidates = list_candidates(config, tuple(wanted))
    counts = judge_in_folds(
        pairs,
        deal_often(pairs.user, config.inner_folds, config.inner_deals, seed=seed),
        _selector(candidates, config, seed),
        l2=_pulls(candidates),
        steps=np.full(len(candidates), config.steps),
    )
    if judges is not None and np.isin(counts.users, judges).sum() > 1:
        counts = counts.of_users(judges)
    ranked = counts.order().tolist()
    best = {arm: next(row for row in ranked if candidates[row].arm == arm) for arm in wanted}
    chosen = {arm: candidates[row] for arm, row in best.items()}
    if TUNED_ARM in arms:
        chosen[TUNED_ARM] = _choose_tuned(counts, candidates, best[BASELINE], config.caution)
    return _train_chosen(pairs, [chosen[arm] for arm in arms], config, seed)


def _choose_tuned(
    counts: FoldCounts, candidates: Sequence[Candidate], full: int, caution: float
) -> Candidate:
    """Return the candidate of `scpo_tuned`, whose base is the candidate of number `full`."""
    rows = [row for row in counts.order().tolist() if candidates[row].arm == TUNED_ARM]
    found = choose_in_folds(counts, full, np.array(rows), caution=caution)
    if found is not None and found != full:
        return candidates[found]
    retention = KEPT_GLOBAL if found is None else 1.0
    base = candidates[full]
    return Candidate(TUNED_ARM, base.l2, retention, strength=0.0, user_strength=0.0)


def _train_chosen(
    pairs: ProbedPairs, chosen: Sequence[Candidate], config: HeadsConfig, seed: int
) -> dict[str, ChosenHead]:
    """Return the head of each candidate by arm; the global model's own where that is kept."""
    is_kept = [each.retention == KEPT_GLOBAL for each in chosen]
    trained = [
        replace(each, retention=1.0) if kept else each
        for each, kept in zip(chosen, is_kept, strict=True)
    ]
    moved, num_kept = train_candidates(pairs, trained, config, seed=seed)
    moved[is_kept], num_kept[is_kept] = 0.0, 0
    return {
        each.arm: ChosenHead(each, moved[row], int(num_kept[row]))
        for row, each in enumerate(chosen)
    }


def deal_often(
    user: NDArray[np.str_], num_folds: int, num_deals: int, *, seed: int
) -> list[IntArray]:
    """Return so many deals of users into folds, each of shape (P,)."""
    return [deal_users(user, num_folds, seed=seed + 1000 * deal) for deal in range(num_deals)]


def train_candidates(
    pairs: ProbedPairs, candidates: Sequence[Candidate], config: HeadsConfig, *, seed: int
) -> tuple[Heads, IntArray]:
    """Return the heads of some candidates, w - w0 of shape (S, D), and the pairs each keeps."""
    pairs = pairs.by_margin()
    selections = _selector(candidates, config, seed, is_gated=True)(pairs)
    steps = np.full(len(candidates), config.steps)
    moved = train_selections(pairs, selections, l2=_pulls(candidates), steps=steps)
    return moved, np.array([selection.keep.sum() for selection in selections])


def judge_in_folds(
    pairs: ProbedPairs,
    deals: Sequence[IntArray],
    select: Select,
    *,
    l2: FloatArray,
    steps: IntArray,
    may_start: Callable[[Selection], bool] = lambda _: True,
) -> FoldCounts:
    """Return how candidates order the pairs of users who did not train them, mean over deals.

    `pairs` are all of the users to train and choose on; of each deal every fold, shape (P,), is
    held out in turn; `l2` and `steps` are those of `train_selections`. A candidate that
    `may_start` refuses in some fold has not started.

    Raises:
        ValueError: See `train_heads` and `count_margins`.
    """
    started = np.ones(len(l2), dtype=np.bool_)
    margins = np.empty((len(deals), len(l2), len(pairs)))
    for deal, fold in enumerate(deals):
        for number in np.unique(fold):
            train = pairs.take(np.flatnonzero(fold != number)).by_margin()
            held = np.flatnonzero(fold == number)
            selections = select(train)
            started &= [may_start(selection) for selection in selections]
            moved = train_selections(train, selections, l2=l2, steps=steps)
            margins[deal][:, held] = head_margins(moved, pairs.take(held))
    return count_margins(margins, pairs.reference_margin, pairs.user, started)


def train_selections(
    pairs: ProbedPairs, selections: Sequence[Selection], *, l2: FloatArray, steps: IntArray
) -> Heads:
    """Train a head for each of S selections and return how far it moved, shape (S, D).

    Pairs are by margin; `l2`, the pull to the global head, and `steps` have shape (S,). Weights
    above 1 (of `inverse`) and the pull are divided by the largest weight, which leaves the minimum
    where it is.

    Raises:
        ValueError: See `train_heads`.
    """
    weights = np.stack([selection.weights for selection in selections])
    kept = np.array([selection.keep.sum() for selection in selections])
    largest = np.maximum(weights.max(axis=1), 1.0)
    return train_heads(
        pairs.differences,
        pairs.offset,
        weights / largest[:, None],
        np.maximum(kept, 1),  # without pairs the head stays where it is
        l2=l2 / largest,
        steps=steps,
    )


def _selector(
    candidates: Sequence[Candidate], config: HeadsConfig, seed: int, *, is_gated: bool = False
) -> Select:
    """Return what each candidate selects; with a gate the arm `user` may turn out to be `full`."""
    weighs_users = any(each.arm == USER or each.user_strength for each in candidates)

    def select(pairs: ProbedPairs) -> list[Selection]:
        margin, users = pairs.reference_margin, len(np.unique(pairs.user))
        agreement = agreement_of_users(pairs) if weighs_users else None
        arm_strength = default_user_strength(users)
        if is_gated and any(each.arm == USER for each in candidates):
            arm_strength = gated_strength(pairs)
        return [
            select_arm(
                each.arm,
                margin,
                tau=config.tau,
                beta=config.beta,
                seed=seed,
                agreement=agreement,
                user_strength=arm_strength,
            )
            if each.retention is None or each.strength is None
            else select_setting(
                margin,
                retention=each.retention,
                strength=each.strength,
                agreement=agreement,
                user_strength=each.user_strength or 0.0,
            )
            for each in candidates
        ]

    return select


def _pulls(candidates: Sequence[Candidate]) -> FloatArray:
    return np.array([candidate.l2 for candidate in candidates])
