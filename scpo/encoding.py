"""Texts to tokens: the one function that builds the model input, for scoring and training.

An encoder (BERT, DeBERTa) reads the text pair (prompt, response); a decoder with a chat template
reads the conversation [user, assistant] through `apply_chat_template`. Texts longer than the
budget lose tokens at the *left of the prompt*; only when no prompt is left does the response
lose its end. All token ids of a data set lie in one flat array; padding happens a batch at a
time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from scpo.pairs import IntArray

ENCODE_BATCH_TEXTS = 1024


@dataclass(frozen=True)
class TokenizedTexts:
    """U tokenised texts in flat arrays of N tokens.

    Attributes:
        ids: Token ids, int32, shape (N,).
        types: Token types as the tokenizer gives them (BERT: 1 for the response and the
            separator that ends it), int8, shape (N,).
        offsets: Where each text starts, and N at the end, shape (U + 1,).
        num_truncated: Texts that were cut to the token budget.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int8]
    offsets: IntArray
    num_truncated: int = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> IntArray:
        """Tokens of each text, shape (U,)."""
        return np.diff(self.offsets)

    def tokens_of(self, text: int) -> NDArray[np.int32]:
        """Return the token ids of one text."""
        return self.ids[self.offsets[text] : self.offsets[text + 1]]

    def take(self, texts: IntArray) -> "TokenizedTexts":
        """Return the named texts, in the order named."""
        lengths = self.lengths[texts]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        source = np.repeat(self.offsets[texts] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return TokenizedTexts(self.ids[source], self.types[source], offsets)


def encode_texts(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    responses: Sequence[str],
    *,
    max_tokens: int,
) -> TokenizedTexts:
    """Tokenise U (prompt, response) texts for a reward model.

    Args:
        tokenizer: A fast tokenizer; with a chat template it is used, else a text pair.
        prompts: U prompts.
        responses: U responses.
        max_tokens: Longest text allowed, in tokens, special tokens included.

    Raises:
        ValueError: The lists differ in length, `max_tokens < 8`, or the tokenizer is not fast.
    """
    if len(prompts) != len(responses):
        raise ValueError(f"{len(prompts)} prompts but {len(responses)} responses were given.")
    if max_tokens < 8:
        raise ValueError(f"`max_tokens >= 8` must hold, but got {max_tokens}.")
    if not tokenizer.is_fast:
        raise ValueError(f"A fast tokenizer is needed, but got {type(tokenizer).__name__}.")
    encode = _encode_chat if tokenizer.chat_template else _encode_pairs
    ids: list[NDArray[np.int32]] = []
    types: list[NDArray[np.int8]] = []
    num_truncated = 0
    for start in range(0, len(prompts), ENCODE_BATCH_TEXTS):
        stop = start + ENCODE_BATCH_TEXTS
        for text in encode(tokenizer, prompts[start:stop], responses[start:stop]):
            keep = positions_within(text.sides, max_tokens)
            num_truncated += len(keep) < len(text.ids)
            ids.append(text.ids[keep])
            types.append(text.types[keep])
    return TokenizedTexts(
        np.concatenate(ids) if ids else np.zeros(0, np.int32),
        np.concatenate(types) if types else np.zeros(0, np.int8),
        np.concatenate([[0], np.cumsum([len(text) for text in ids])]).astype(np.int64),
        num_truncated,
    )


def positions_within(sides: NDArray[np.int8], max_tokens: int) -> IntArray:
    """Return the positions to keep so that at most `max_tokens` remain.

    Args:
        sides: 0 prompt, 1 response, -1 special token, shape (T,).
        max_tokens: Tokens allowed.

    Returns:
        Positions in order: the prompt loses its left, then the response its right end; special
        tokens always stay.
    """
    excess = len(sides) - max_tokens
    if excess <= 0:
        return np.arange(len(sides), dtype=np.int64)
    prompt = np.flatnonzero(sides == 0)
    response = np.flatnonzero(sides == 1)
    dropped = prompt[:excess]
    if excess > len(prompt):
        num_left = max(0, len(response) - (excess - len(prompt)))
        dropped = np.concatenate([dropped, response[num_left:]])
    return np.setdiff1d(np.arange(len(sides)), dropped)


def pad_texts(
    texts: TokenizedTexts, which: IntArray, *, pad_id: int, with_types: bool, device: torch.device
) -> dict[str, Tensor]:
    """Return the model inputs of some texts, padded at the right to the longest of them.

    Args:
        texts: All texts.
        which: The B texts of this batch.
        pad_id: Token id of the padding.
        with_types: Whether the model takes `token_type_ids`.
        device: Where the tensors go.

    Returns:
        `input_ids`, `attention_mask` and perhaps `token_type_ids`, each (B, T), int64.
    """
    lengths = texts.lengths[which]
    width = int(lengths.max())
    column = np.arange(width)
    mask = column < lengths[:, None]
    source = np.where(mask, texts.offsets[which][:, None] + column, 0)
    batch = {
        "input_ids": np.where(mask, texts.ids[source], pad_id).astype(np.int64),
        "attention_mask": mask.astype(np.int64),
    }
    if with_types:
        batch["token_type_ids"] = np.where(mask, texts.types[source], 0).astype(np.int64)
    return {name: torch.from_numpy(array).to(device) for name, array in batch.items()}


@dataclass(frozen=True)
class _WholeText:
    """One text before it is cut: token ids, types and sides (as of `positions_within`)."""

    ids: NDArray[np.int32]
    types: NDArray[np.int8]
    sides: NDArray[np.int8]


def _encode_pairs(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], responses: Sequence[str]
) -> list[_WholeText]:
    """Return text pairs, whole."""
    encoded = tokenizer(list(prompts), list(responses), truncation=False, verbose=False)
    return [
        _WholeText(
            np.asarray(encoding.ids, dtype=np.int32),
            np.asarray(encoding.type_ids, dtype=np.int8),
            np.asarray([-1 if s is None else s for s in encoding.sequence_ids], dtype=np.int8),
        )
        for encoding in encoded.encodings
    ]


def _encode_chat(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], responses: Sequence[str]
) -> list[_WholeText]:
    """Return conversations, whole.

    The part that the template also gives for the user's message alone is the prompt's side.
    The first token (BOS in every template known) is kept as special.
    """
    encoded = []
    for prompt, response in zip(prompts, responses, strict=True):
        user: dict[str, str] = {"role": "user", "content": prompt}
        ids = _chat_ids(tokenizer, [user, {"role": "assistant", "content": response}], False)
        head = _chat_ids(tokenizer, [user], True)
        shared = min(len(ids), len(head))
        differs = np.flatnonzero(ids[:shared] != head[:shared])
        num_prompt = int(differs[0]) if differs.size else shared
        sides = np.ones(len(ids), dtype=np.int8)
        sides[:num_prompt] = 0
        sides[0] = -1
        encoded.append(_WholeText(ids, np.zeros(len(ids), dtype=np.int8), sides))
    return encoded


def _chat_ids(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], open_reply: bool
) -> NDArray[np.int32]:
    """Return the token ids of a conversation through the tokenizer's own template."""
    encoded: Any = tokenizer.apply_chat_template(
        messages, tokenize=True, add_generation_prompt=open_reply, return_dict=True
    )
    return np.asarray(encoded["input_ids"], dtype=np.int32)
