"""Rewards of texts by one model: evaluation mode, no gradients, sorted by length."""

import numpy as np
import torch

from scpo.batches import cut_forwards
from scpo.classifier import compute_rewards
from scpo.devices import Precision, autocast, resolve_precision
from scpo.encoding import TokenizedTexts, pad_texts
from scpo.model import RewardModel, takes_token_types
from scpo.pairs import IntArray
from scpo.weighting import FloatArray

SCORING_TOKENS = 4096


def score_texts(
    reward: RewardModel,
    texts: TokenizedTexts,
    which: IntArray,
    *,
    precision: Precision = "auto",
    max_tokens: int = SCORING_TOKENS,
) -> FloatArray:
    """Return the reward of each named text.

    Args:
        reward: Model, on the device to use, and tokenizer.
        texts: Tokenised texts.
        which: The texts to score, shape (B,).
        precision: Precision of the matrix products; the head is float32.
        max_tokens: Padded tokens of one forward pass.

    Returns:
        Rewards in the order of `which`, shape (B,), float64 holding float32 values.

    Raises:
        RuntimeError: A reward is not finite.
    """
    device = reward.model.device
    resolved = resolve_precision(precision, device)
    rewards = np.zeros(len(texts), dtype=np.float64)
    longest_first = which[np.argsort(-texts.lengths[which], kind="stable")]
    inputs = {
        "pad_id": reward.tokenizer.pad_token_id,
        "with_types": takes_token_types(reward),
        "device": device,
    }
    reward.model.eval()
    with torch.inference_mode(), autocast(device, resolved):
        for forward in cut_forwards(longest_first, texts.lengths, max_tokens=max_tokens):
            batch = pad_texts(texts, forward, **inputs)
            rewards[forward] = compute_rewards(reward.model, batch).cpu().numpy()
    scored = rewards[which]
    if not np.all(np.isfinite(scored)):
        bad = which[~np.isfinite(scored)]
        raise RuntimeError(
            f"Rewards must be finite, but {len(bad)} of {len(which)} texts got NaN or infinity "
            f"(first: text {bad[0]}). Try `precision: fp32`, or check the model's weights."
        )
    return scored
