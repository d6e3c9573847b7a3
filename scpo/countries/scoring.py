"""Rewards of texts by one model: evaluation mode, no gradients, sorted by length."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from scpo.arrays import FloatArray, IntArray
from scpo.choices import Precision
from scpo.countries.country_data import CountryData, pair_margins
from scpo.models.classifier import compute_rewards, plain_model
from scpo.models.devices import autocast, forward_tokens, resolve_precision
from scpo.models.fit_together import check_lengths
from scpo.models.reward_model import LoadedModel, takes_token_types
from scpo.tokens.batches import cut_forwards
from scpo.tokens.encoding import TokenizedTexts, pad_texts


def score_texts(
    reward: LoadedModel,
    texts: TokenizedTexts,
    which: IntArray,
    *,
    precision: Precision = "auto",
    on_pass: Callable[[IntArray, Tensor], None] | None = None,
) -> FloatArray:
    """Return the rewards of the texts that `which`, shape (B,), names, in its order.

    The model is on the device to use; `precision` is that of the matrix products, the head is
    float32. `on_pass` is called after each forward pass with its texts and their rewards.

    Returns:
        Shape (B,), float64 holding float32 values.

    Raises:
        RuntimeError: A reward is not finite.
        ValueError: A text is longer than the model has positions.
    """
    rewards = np.zeros(len(texts), dtype=np.float64)
    for forward, given in _run_forwards(reward, texts, which, precision=precision):
        rewards[forward] = given.cpu().numpy()
        if on_pass is not None:
            on_pass(forward, given)
    scored = rewards[which]
    if not np.all(np.isfinite(scored)):
        bad = which[~np.isfinite(scored)]
        raise RuntimeError(
            f"Rewards must be finite, but {len(bad)} of {len(which)} texts got NaN or infinity of "
            f"{plain_model(reward.model).name_or_path} (first: text {bad[0]}). Try "
            "`precision: fp32`, or check the model's weights."
        )
    return scored


def _run_forwards(
    reward: LoadedModel, texts: TokenizedTexts, which: IntArray, *, precision: Precision
) -> Iterator[tuple[IntArray, Tensor]]:
    """Yield the texts of each forward pass, of nearly one length, and their rewards.

    Arguments as of `score_texts`; the model is in evaluation mode and keeps no gradients.
    """
    device = reward.model.device
    resolved = resolve_precision(precision, device)
    longest_first = which[np.argsort(-texts.lengths[which], kind="stable")]
    with_types = takes_token_types(reward)
    check_lengths(reward.model, texts.lengths[which])
    reward.model.eval()
    fewest, most = forward_tokens(device)
    for forward in cut_forwards(longest_first, texts.lengths, max_tokens=most, min_tokens=fewest):
        batch = pad_texts(
            texts,
            forward,
            pad_id=reward.tokenizer.pad_token_id,
            with_types=with_types,
            device=device,
        )
        with torch.inference_mode(), autocast(device, resolved):
            rewards = compute_rewards(reward.model, batch)
        yield forward, rewards


def score_pairs(
    reward: LoadedModel, data: CountryData, which: IntArray, *, precision: Precision = "auto"
) -> FloatArray:
    """Return the model's margin of each named pair, scoring only the texts they need.

    Raises:
        RuntimeError: A reward is not finite.
    """
    rewards = score_responses(reward, data, which, precision=precision)
    return pair_margins(rewards, data.pairs)[which]


def score_responses(
    reward: LoadedModel, data: CountryData, which: IntArray, *, precision: Precision = "auto"
) -> FloatArray:
    """Return a model's reward of each response that the named pairs hold, 0 for others, (U,).

    Raises:
        RuntimeError: A reward is not finite.
    """
    needed = np.unique(np.concatenate([data.pairs.chosen[which], data.pairs.rejected[which]]))
    rewards = np.zeros(len(data.texts))
    rewards[needed] = score_texts(reward, data.texts, needed, precision=precision)
    return rewards
