"""The weighted Bradley-Terry loss, in float32 and stable for any margin.

    loss = mean over pairs of W * softplus(-(m - t)),      softplus(-z) = -log sigmoid(z)

with m = r(x, y+) - r(x, y-) and t the margin that m is to exceed, 0 where none is given. The mean
divides by the number of pairs, not by the sum of the weights. An optional centring term
c * mean((r+ + r-)^2) keeps rewards near zero.

Reference:
    arXiv 2606.18606, section 3 (weighted loss); t after Touvron et al., 2307.09288, equation 2;
    centring after Eisenstein et al., 2312.09244.
"""

import torch
from torch import Tensor
from torch.nn import functional


def weighted_bradley_terry(
    margin: Tensor, weights: Tensor, target: Tensor | None = None
) -> Tensor:
    """Return the mean over B pairs of W * softplus(-(m - t)), a float32 (or wider) scalar.

    m = r+ - r-, the weights W >= 0 and t, the margin that m is to exceed (None for 0), are of
    shape (B,) on one device. Gradients go to m.

    Raises:
        ValueError: The shapes differ, are not one-dimensional, or there is no pair.
    """
    return pair_losses(margin, weights, target).mean()


def pair_losses(margin: Tensor, weights: Tensor, target: Tensor | None = None) -> Tensor:
    """Return W * softplus(-(m - t)) of each pair, for callers that reduce over ranks themselves.

    Arguments and errors as of `weighted_bradley_terry`; shape (B,), at least float32.
    """
    _check_shapes("margin and weights", margin, weights)
    if margin.numel() == 0:
        raise ValueError("At least one pair must be given, but got none.")
    wide = torch.promote_types(margin.dtype, torch.float32)
    excess = margin.to(wide)
    if target is not None:
        _check_shapes("margin and target", margin, target)
        excess = excess - target.to(wide)
    return weights.to(wide) * functional.softplus(-excess)


def centring_losses(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return (r+ + r-)^2 of each pair, shape (B,), at least float32.

    Raises:
        ValueError: The shapes differ or are not one-dimensional.
    """
    _check_shapes("chosen and rejected", chosen, rejected)
    wide = torch.promote_types(chosen.dtype, torch.float32)
    return (chosen.to(wide) + rejected.to(wide)).square()


def _check_shapes(names: str, first: Tensor, second: Tensor) -> None:
    """Refuse shapes that would broadcast: (B, 1) against (B,) silently gives (B, B)."""
    if first.shape != second.shape or first.dim() != 1:
        raise ValueError(
            f"{names} must have one shape (B,), but got "
            f"{tuple(first.shape)} and {tuple(second.shape)}."
        )
