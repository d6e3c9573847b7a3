"""Texts to tokens: the one function that builds the model input, for scoring and training.

An encoder (BERT, DeBERTa) reads the text pair (prompt, response); a decoder with a chat template
reads the conversation: the prompt's turns, then the assistant's. What happens to a text longer
than the budget is a policy (`scpo.tokens.flat_tokens.positions_within`). All token ids of a data
set lie in one flat array; padding happens a batch at a time.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from scpo.arrays import BoolArray, IntArray
from scpo.choices import Overlong
from scpo.text.progress import ProgressLines
from scpo.tokens.chat_layout import ChatLayout, learn_chat_layout
from scpo.tokens.flat_tokens import offsets_of, positions_within, range_positions
from scpo.tokens.pair_layout import PairLayout, learn_pair_layout, reads_pairs
from scpo.tokens.prompts import Prompt


@dataclass(frozen=True)
class TokenizedTexts:
    """U tokenised texts in flat arrays of N tokens.

    Attributes:
        ids: Token ids, int32, shape (N,).
        types: Token types as the tokenizer gives them (BERT: 1 for the response and the
            separator that ends it), int8, shape (N,).
        offsets: Where each text starts, and N at the end, shape (U + 1,).
        overlong: Which texts were over the token budget and so were cut, shape (U,).
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int8]
    offsets: IntArray
    overlong: BoolArray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> IntArray:
        """Tokens of each text, shape (U,)."""
        return np.diff(self.offsets)

    @property
    def num_truncated(self) -> int:
        """Texts that were cut to the token budget."""
        return int(self.overlong.sum())

    def tokens_of(self, text: int) -> NDArray[np.int32]:
        """Return the token ids of one text."""
        return self.ids[self.offsets[text] : self.offsets[text + 1]]

    def take(self, texts: IntArray) -> "TokenizedTexts":
        """Return the named texts, in the order named."""
        lengths = self.lengths[texts]
        source = range_positions(self.offsets[texts], lengths)
        return TokenizedTexts(
            self.ids[source], self.types[source], offsets_of(lengths), self.overlong[texts]
        )


def encode_texts(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    *,
    max_tokens: int,
    overlong: Overlong = "truncate_prompt",
) -> TokenizedTexts:
    """Tokenise U (prompt, response) texts for a reward model.

    A chat template is used where the tokenizer has one, else a text pair. `max_tokens` counts
    special tokens too; what happens to longer texts is `overlong`, as of `positions_within`.

    Raises:
        ValueError: The lists differ in length, `max_tokens < 8` or too small for the special
            tokens, the tokenizer is not fast, or its pairs or conversations cannot be built.
    """
    if len(prompts) != len(responses):
        raise ValueError(f"{len(prompts)} prompts but {len(responses)} responses were given.")
    if max_tokens < 8:
        raise ValueError(f"`max_tokens >= 8` must hold, but got {max_tokens}.")
    if not tokenizer.is_fast:
        raise ValueError(f"A fast tokenizer is needed, but got {type(tokenizer).__name__}.")
    is_pair = reads_pairs(tokenizer.chat_template)
    layout: ChatLayout | PairLayout = (
        learn_pair_layout(tokenizer) if is_pair else learn_chat_layout(tokenizer)
    )
    if max_tokens <= layout.num_special:
        raise ValueError(
            f"`max_tokens >= {layout.num_special + 1}` must hold, for the "
            f"{'pair' if is_pair else 'chat template'} alone takes "
            f"{layout.num_special} tokens, but got {max_tokens}."
        )
    with _no_collection():
        return _encode(layout, tokenizer, prompts, responses, max_tokens, overlong)


def _encode(
    layout: ChatLayout | PairLayout,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    max_tokens: int,
    overlong: Overlong,
) -> TokenizedTexts:
    ids, types = [np.zeros(0, np.int32)], [np.zeros(0, np.int8)]
    lengths, before = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    progress = ProgressLines(f"tokenising {len(prompts):,} texts", len(prompts))
    for whole in layout.encode(tokenizer, prompts, responses, max_tokens):
        keep = positions_within(
            whole.sides, whole.offsets, max_tokens=max_tokens, overlong=overlong
        )
        ids.append(whole.ids[keep])
        types.append(whole.types[keep])
        lengths.append(np.minimum(np.diff(whole.offsets), max_tokens))
        before.append(whole.lengths)
        progress.add(len(whole.lengths))
    return TokenizedTexts(
        np.concatenate(ids),
        np.concatenate(types),
        offsets_of(np.concatenate(lengths)),
        np.concatenate(before) > max_tokens,
    )


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause Python's garbage collector: it would go through all texts again after every few."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def pad_texts(
    texts: TokenizedTexts, which: IntArray, *, pad_id: int, with_types: bool, device: torch.device
) -> dict[str, Tensor]:
    """Return the model inputs of B texts, padded at the right to the longest of them.

    Returns:
        `input_ids`, `attention_mask` and, `with_types`, `token_type_ids`, each (B, T), int64.
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
