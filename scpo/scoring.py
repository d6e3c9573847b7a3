"""Rewards of texts by one model: evaluation mode, no gradients, sorted by length.

Forward passes hold texts of nearly one length. Encoders whose reward reads the first token only
compute no other token behind the last attention, a seventh of MiniLM's time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    BertForSequenceClassification,
    DebertaV2ForSequenceClassification,
    PreTrainedModel,
)

from scpo.batches import cut_forwards
from scpo.classifier import compute_rewards, plain_model
from scpo.devices import Precision, autocast, resolve_precision
from scpo.encoding import TokenizedTexts, pad_texts
from scpo.model import RewardModel, takes_token_types
from scpo.pairs import IntArray
from scpo.weighting import FloatArray

SCORING_TOKENS = 4096
FIRST_TOKEN_CLASSES = (BertForSequenceClassification, DebertaV2ForSequenceClassification)


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
    with (
        torch.inference_mode(),
        autocast(device, resolved),
        first_token_only(plain_model(reward.model)),
    ):
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


@contextmanager
def first_token_only(model: PreTrainedModel) -> Iterator[None]:
    """Let the last layer of an encoder compute its first token only; the reward stays as it is.

    Classifiers of these very classes (a subclass may pool otherwise) read position 0 of the last
    layer, and behind its attention no token sees another. Other models run as they are, and so
    does DeBERTa of one layer, which a convolution over all tokens follows.

    Args:
        model: The classifier itself, without wrappers.
    """
    base: Any = model.base_model
    layers: Any = base.encoder.layer if type(model) in FIRST_TOKEN_CLASSES else []
    if len(layers) < 2:
        yield
        return
    handle = layers[-1].attention.output.register_forward_pre_hook(_keep_first_token)
    try:
        yield
    finally:
        handle.remove()


def _keep_first_token(module: nn.Module, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Cut attention's output and the residual, each (B, T, H), to (B, 1, H)."""
    attended, residual = inputs
    return attended[:, :1], residual[:, :1]
