"""Heads of every arm for one country's training pairs, each with settings chosen within folds.

In come pairs as differences of frozen features and the user of each, out comes one head an arm.
Every arm chooses its pull to the global head, and `scpo_tuned` retention and strength too, by
accuracy on inner folds of the same users; then it is trained on all of them. Held-out users are
never seen, so an arm's accuracy on them is not flattered by the choice.

Legend: P pairs, S candidates, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scpo.arrays import FloatArray, IntArray
from scpo.method.arms import Selection, select_arm, select_setting
from sweeps.config import HeadsConfig
from sweeps.ledger.words import HEAD_ARMS, TUNED_ARM
from sweeps.probe.heads import Heads, draw_settings, judge_heads, train_heads
from sweeps.probe.probed_pairs import ProbedPairs


@dataclass(frozen=True)
class Candidate:
    """A setting that an arm may choose; retention and strength only of `scpo_tuned`."""

    arm: str
    l2: float
    retention: float | None = None
    strength: float | None = None


@dataclass(frozen=True)
class ChosenHead:
    """The head of one arm.

    Attributes:
        candidate: The setting chosen.
        moved: w - w0, shape (D,).
        pairs_trained: Pairs kept.
    """

    candidate: Candidate
    moved: Heads
    pairs_trained: int


def deal_users(user: NDArray[np.str_], num_folds: int, *, seed: int) -> IntArray:
    """Return the fold of each pair, 0..k-1: users are dealt in random order, sizes differ by one.

    Args:
        user: User of each pair, shape (P,).
        num_folds: k.
        seed: Seed of the order.

    Raises:
        ValueError: `2 <= k <= users` does not hold.
    """
    names, index = np.unique(user, return_inverse=True)
    if not 2 <= num_folds <= len(names):
        raise ValueError(f"`2 <= folds <= {len(names)}`, the users, must hold, got {num_folds}.")
    fold = np.empty(len(names), dtype=np.int64)
    fold[np.random.default_rng(seed).permutation(len(names))] = np.arange(len(names)) % num_folds
    return fold[index]


def list_candidates(config: HeadsConfig, arms: Sequence[str] = HEAD_ARMS) -> list[Candidate]:
    """Return what each arm chooses from; `full` is among the candidates of `scpo_tuned`."""
    named = [Candidate(arm, l2) for arm in arms if arm != TUNED_ARM for l2 in config.l2]
    if TUNED_ARM not in arms:
        return named
    drawn = draw_settings(
        config.num_settings,
        retention=config.retention,
        strength=config.strength,
        l2=(min(config.l2), max(config.l2)),
        steps=(config.steps, config.steps),
        seed=0,
    )
    columns = (drawn.l2.tolist(), drawn.retention.tolist(), drawn.strength.tolist())
    corner = [Candidate(TUNED_ARM, l2, 1.0, 0.0) for l2 in config.l2]
    return named + corner + [Candidate(TUNED_ARM, *row) for row in zip(*columns, strict=True)]


def choose_heads(
    pairs: ProbedPairs,
    user: NDArray[np.str_],
    config: HeadsConfig,
    *,
    seed: int,
    arms: Sequence[str] = HEAD_ARMS,
) -> dict[str, ChosenHead]:
    """Return the head of each arm.

    Of candidates with equal accuracy the one of least loss is chosen.

    Args:
        pairs: Training pairs of a country.
        user: Their users, shape (P,).
        config: Candidates, inner folds and constants.
        seed: Seed of the inner folds and of `random_k`.
        arms: Which arms.

    Raises:
        ValueError: Too few users for the inner folds, or margins that do not differ.
    """
    candidates = list_candidates(config, arms)
    inner = deal_users(user, config.inner_folds, seed=seed)
    right, loss = np.zeros(len(candidates)), np.zeros(len(candidates))
    for fold in range(config.inner_folds):
        seen, held = (pairs.take(np.flatnonzero(side)) for side in (inner != fold, inner == fold))
        moved, _ = train_candidates(seen, candidates, config, seed=seed)
        judged = judge_heads(moved, held.differences, held.offset, held.reference_margin)
        right += judged.accuracy * len(held.offset)
        loss += judged.loss * len(held.offset)
    order = np.lexsort((loss, -np.rint(right)))
    best = [next(n for n in order.tolist() if candidates[n].arm == arm) for arm in arms]
    chosen = [candidates[number] for number in best]
    moved, kept = train_candidates(pairs, chosen, config, seed=seed)
    return {
        candidate.arm: ChosenHead(candidate, moved[row], int(kept[row]))
        for row, candidate in enumerate(chosen)
    }


def train_candidates(
    pairs: ProbedPairs, candidates: Sequence[Candidate], config: HeadsConfig, *, seed: int
) -> tuple[Heads, IntArray]:
    """Return the heads of some candidates, w - w0 of shape (S, D), and the pairs each keeps.

    Weights above 1 (of `inverse`) and the pull are divided by the largest weight, which leaves
    the minimum where it is.
    """
    pairs = pairs.take(np.argsort(pairs.reference_margin, kind="stable"))
    selections: dict[Candidate, Selection] = {}
    for candidate in candidates:
        unpulled = Candidate(candidate.arm, 0.0, candidate.retention, candidate.strength)
        if unpulled not in selections:
            selections[unpulled] = _select(unpulled, pairs.reference_margin, config, seed)
        selections[candidate] = selections[unpulled]
    weights = np.stack([selections[candidate].weights for candidate in candidates])
    kept = np.array([selections[candidate].keep.sum() for candidate in candidates])
    largest: FloatArray = np.maximum(weights.max(axis=1), 1.0)
    moved = train_heads(
        pairs.differences,
        pairs.offset,
        weights / largest[:, None],
        np.maximum(kept, 1),
        l2=np.array([candidate.l2 for candidate in candidates]) / largest,
        steps=np.full(len(candidates), config.steps),
    )
    return moved, kept


def _select(candidate: Candidate, margin: FloatArray, config: HeadsConfig, seed: int) -> Selection:
    """Return what a candidate trains on."""
    if candidate.retention is None or candidate.strength is None:
        return select_arm(candidate.arm, margin, tau=config.tau, beta=config.beta, seed=seed)
    return select_setting(margin, retention=candidate.retention, strength=candidate.strength)
