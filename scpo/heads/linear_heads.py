"""Thousands of linear reward heads trained at once on fixed features, as one array program.

With x = phi(y+) - phi(y-) of a pair and w0 the global model's own head, setting s minimises

    J(w) = 1/n sum_i W_i softplus(-x_i . w) + lambda / 2 |w - w0|^2,   lambda = l2 * c

over the n pairs that it keeps, W_i in [0, 1] their weights; c = mean |x|^2 / 4 is the total
curvature of the plain loss at most, so l2 has no unit. A pair enters by its margin
x . w0 + x . change, so heads are changes from w0 and stay in the span of the pairs. There, in the
eigenbasis of X^T X = V diag(e) V^T, e / 4n + lambda bounds the Hessian of every setting, because
the logistic curvature is at most 1/4 and W at most 1: dividing the gradient by it never
overshoots, needs no learning rate and costs two products [S, P] x [P, R] a step. Nesterov's
momentum, restarted where it points uphill, brings a head near its optimum in about 20 steps;
fewer `steps` stop it early.

Reference:
    Boehning and Lindsay (1988), monotonicity of quadratic-approximation algorithms;
    O'Donoghue and Candes (2015), adaptive restart for accelerated gradient schemes.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_expit
from torch import Tensor

from scpo.arrays import FloatArray, IntArray
from scpo.files.pulse import pulse

Heads = NDArray[np.floating]

_NUM_PREFIXES = 4  # bases of the span: of the first 1/4, 2/4, ... of the pairs
HEADS_AT_ONCE = 128  # their margins stay in the processor's cache
_NOISE = 1e-10  # eigenvalues below this share of the largest are rounding


@dataclass(frozen=True)
class ProbedPairs:
    """P pairs as differences of features."""

    differences: Heads  # x = phi(y+) - phi(y-), shape (P, D); heads have their dtype
    offset: FloatArray  # where heads begin: margins x . w0, or the global model's, shape (P,)
    reference_margin: FloatArray  # margins of the global model, shape (P,)
    user: NDArray[Any]  # whose each pair is, shape (P,)

    def __len__(self) -> int:
        return len(self.offset)

    def take(self, which: IntArray) -> Self:
        """Return the named pairs, in the order named."""
        return replace(self, **{name: column[which] for name, column in vars(self).items()})

    def by_margin(self) -> Self:
        """Return the pairs in ascending order of reference margin, equal ones as they stood."""
        return self.take(np.argsort(self.reference_margin, kind="stable"))


def train_heads(
    differences: Heads,
    offset: FloatArray,
    weights: FloatArray,
    num_kept: IntArray,
    *,
    l2: FloatArray,
    steps: IntArray,
) -> Heads:
    """Train S heads and return how far each moved from the global model's, w - w0, shape (S, D).

    A setting's result does not depend on the other settings. Pairs after the last one with a
    weight cost nothing: sort pairs by reference margin.

    Args:
        differences: See `ProbedPairs`, shape (P, D); the result has their dtype.
        offset: See `ProbedPairs`, shape (P,).
        weights: W of each setting and pair in [0, 1], 0 where it is not kept, shape (S, P).
        num_kept: n of each setting, at least 1, shape (S,).
        l2: Pull to the global head, positive, shape (S,).
        steps: At least 1, shape (S,).

    Raises:
        ValueError: All differences are 0.
    """
    if not np.any(differences):
        raise ValueError("Features of chosen and rejected texts must differ, but all are equal.")
    x = torch.from_numpy(differences)
    used = weights > 0
    last = np.where(used.any(axis=1), weights.shape[1] - used[:, ::-1].argmax(axis=1), 1)
    rung = np.ceil(last * _NUM_PREFIXES / len(x)).astype(np.int64)
    curvature = float(x.double().square().sum()) / (4 * len(x))
    moved = torch.zeros(len(weights), x.shape[1], dtype=x.dtype)
    for level in np.unique(rung).tolist():
        rows = math.ceil(len(x) * level / _NUM_PREFIXES)
        basis, energy = (part.to(x.dtype) for part in _span(x[:rows]))
        in_basis, origin = x[:rows] @ basis, _tensor(offset[:rows], x)
        chosen = np.flatnonzero(rung == level)
        chosen = chosen[np.argsort(-steps[chosen], kind="stable")]
        for start in range(0, len(chosen), HEADS_AT_ONCE):
            part = chosen[start : start + HEADS_AT_ONCE]
            kept = _tensor(num_kept[part], x)[:, None]
            heads = _descend(
                in_basis,
                origin,
                _tensor(weights[part, :rows], x) / kept,
                energy / (4.0 * kept),
                _tensor(curvature * l2[part], x)[:, None],
                steps[part],
            )
            moved[part] = heads @ basis.T
    return moved.numpy()


@dataclass(frozen=True)
class JudgedHeads:
    """How S heads order held-out pairs; each of shape (S,)."""

    accuracy: FloatArray  # share of pairs ordered right; a tie is wrong
    distinctive: FloatArray  # the same where the global model is wrong; NaN without such pairs
    consensus_drop: FloatArray  # 1 - accuracy where it is right; 0 without such pairs
    loss: FloatArray  # mean of softplus(-margin), which tells equal accuracies apart


def judge_heads(moved: Heads, held: ProbedPairs) -> JudgedHeads:
    """Judge heads, w - w0 of shape (S, D), on held-out pairs.

    Raises:
        ValueError: There are no pairs, or a margin is not finite.
    """
    if len(held) == 0:
        raise ValueError("At least one held-out pair must be given to judge heads, but got none.")
    margin = head_margins(moved, held)
    if not np.all(np.isfinite(margin)):
        raise ValueError("Margins of heads must be finite, but some are not. Raise l2.")
    right = margin > 0
    consensus = held.reference_margin >= 0
    num_heads = len(moved)
    return JudgedHeads(
        right.mean(axis=1),
        np.full(num_heads, np.nan) if consensus.all() else right[:, ~consensus].mean(axis=1),
        1.0 - right[:, consensus].mean(axis=1) if consensus.any() else np.zeros(num_heads),
        -log_expit(margin).mean(axis=1),
    )


def head_margins(moved: Heads, pairs: ProbedPairs) -> FloatArray:
    """Return the margins, (S, P) or (P,), of heads w - w0 of shape (S, D) or (D,), in float64."""
    changes = moved.astype(np.float64) @ pairs.differences.T.astype(np.float64)
    return np.asarray(pairs.offset + changes)


def _span(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvectors (D, R) and eigenvalues (R,), ascending, of x^T x, in float64."""
    x = x.double()
    wide = len(x) <= x.shape[1]
    energy, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    real = energy > _NOISE * energy[-1]
    energy, vectors = energy[real], vectors[:, real]
    return (x.T @ vectors / energy.sqrt() if wide else vectors), energy


def _descend(
    x: Tensor, offset: Tensor, shares: Tensor, bound: Tensor, pull: Tensor, steps: IntArray
) -> Tensor:
    """Return the changes of C heads in the span, shape (C, R), most steps first.

    Args:
        x: Differences of the pairs in the span, shape (P, R).
        offset: Margins of the global head, shape (P,).
        shares: W / n, shape (C, P).
        bound: e / 4n, shape (C, R).
        pull: lambda, shape (C, 1).
        steps: Descending, shape (C,).
    """
    bound = bound + pull
    moved, ahead = torch.zeros_like(bound), torch.zeros_like(bound)
    age = torch.zeros_like(pull)
    for step in range(int(steps[0])):
        on = slice(0, int(np.count_nonzero(steps > step)))
        slope = torch.addmm(offset, ahead[on], x.T)
        slope.neg_().sigmoid_().mul_(shares[on])
        gradient = torch.addmm(pull[on] * ahead[on], slope, x, alpha=-1.0)
        reached = ahead[on] - gradient / bound[on]
        move = reached - moved[on]
        uphill = (gradient * move).sum(1, keepdim=True) > 0
        age[on] = torch.where(uphill, 0.0, age[on] + 1.0)
        moved[on] = reached
        ahead[on] = reached + age[on] / (age[on] + 3.0) * move
        pulse.beat()
    return moved


def _tensor(array: NDArray[Any], like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(like.dtype)
