"""Forward passes: which texts go through the model together, and as which tensors.

Encoders, and decoders where it pays more, take texts of nearly one length side by side. A
decoder can also take an interaction as one row: the prompt that its K responses share once, then
the responses one after the other, each seeing the prompt and itself only (tree attention):

    prompt | response 1 | response 2 | ...        positions of each continue the prompt's

The rewards and gradients are the same; K - 1 prompts are saved and the row is longer. A token
costs w + 2 h T multiplications a layer, with w weights, width h and a row of T tokens; the
cheaper way is taken, interaction by interaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from scpo.arrays import IntArray
from scpo.models.classifier import plain_model, takes_packed_rows
from scpo.models.devices import forward_tokens
from scpo.models.reward_model import LoadedModel, takes_token_types
from scpo.tokens.batches import TrainingSet, cut_forwards, texts_of_step
from scpo.tokens.encoding import TokenizedTexts, pad_texts

SAVING = 0.9  # a shared prompt must bring the cost down to this


@dataclass(frozen=True)
class BatchInputs:
    """What turns text numbers into model inputs.

    Attributes:
        pad_id: Token id of the padding.
        with_types: Whether the model takes `token_type_ids`.
        attention_cost: 2 h / w of a decoder, the price of a token's attention per token seen;
            None where prompts cannot be shared.
        min_tokens: Padded tokens of a pass below which texts of other lengths join it.
        max_tokens: Padded tokens that a pass may have.
    """

    pad_id: int
    with_types: bool
    attention_cost: float | None = None
    min_tokens: int = 0
    max_tokens: int = 4096


@dataclass(frozen=True)
class Forward:
    """One forward pass.

    Attributes:
        texts: Text numbers, in the order of the rewards that come out.
        rows: Texts of each row and the number of tokens that they share; empty for a text a row.
    """

    texts: IntArray
    real_tokens: int
    padded_tokens: int
    rows: list[tuple[IntArray, int]] = field(default_factory=list)


def model_inputs(reward: LoadedModel) -> BatchInputs:
    """Return what a model takes; ask before its weights are sharded."""
    config = reward.model.config
    cost = None
    if takes_packed_rows(reward.model):
        plain = plain_model(reward.model)
        base = plain.base_model
        embedded = sum(weight.numel() for weight in plain.get_input_embeddings().parameters())
        weights = sum(weight.numel() for weight in base.parameters()) - embedded
        cost = 2.0 * config.hidden_size * config.num_hidden_layers / weights
    limits = forward_tokens(reward.model.device)
    return BatchInputs(reward.tokenizer.pad_token_id, takes_token_types(reward), cost, *limits)


def plan_forwards(
    data: TrainingSet, pairs: IntArray, inputs: BatchInputs, *, max_tokens: int
) -> list[Forward]:
    """Return the forward passes that give the rewards of some pairs' texts.

    `pairs` are those of whole interactions; none gives a pass over one text, for ranks without
    pairs. `max_tokens` limits the padded tokens of a pass; a single longer row gets its own.
    """
    lengths = data.texts.lengths
    rows = [] if inputs.attention_cost is None else _rows_that_pay(data, pairs, inputs)
    forwards = _packed_forwards(rows, lengths, max_tokens, inputs.min_tokens)
    which = texts_of_step(data, pairs)
    if rows:
        which = which[~np.isin(which, np.concatenate([texts for texts, _ in rows]))]
    for texts in cut_forwards(which, lengths, max_tokens=max_tokens, min_tokens=inputs.min_tokens):
        forwards.append(plain_forward(texts, lengths))
    return forwards


def plain_forward(texts: IntArray, lengths: IntArray) -> Forward:
    """Return the pass that takes each text as a row."""
    real = int(lengths[texts].sum())
    return Forward(texts, real, int(lengths[texts].max()) * len(texts))


def forward_inputs(
    texts: TokenizedTexts, forward: Forward, inputs: BatchInputs, device: torch.device
) -> dict[str, Tensor]:
    """Return the model inputs of one pass."""
    if forward.rows:
        return _pack_rows(texts, forward.rows, inputs.pad_id, device)
    return pad_texts(
        texts, forward.texts, pad_id=inputs.pad_id, with_types=inputs.with_types, device=device
    )


def pick_rewards(rewards: Tensor, forward: Forward) -> Tensor:
    """Return the rewards of a pass's texts, shape (len(forward.texts),).

    `rewards` are what the model gave: (B,), or (B, R) for rows of up to R texts.
    """
    if not forward.rows:
        return rewards
    width = rewards.shape[1]
    places = [row * width + np.arange(len(texts)) for row, (texts, _) in enumerate(forward.rows)]
    return rewards.flatten()[torch.from_numpy(np.concatenate(places)).to(rewards.device)]


def shared_tokens(texts: TokenizedTexts, which: IntArray) -> int:
    """Return how many tokens some texts start with in common, short of the last of any."""
    first, *others = (texts.tokens_of(number) for number in which)
    shared = min(int(texts.lengths[which].min()) - 1, len(first))
    for other in others:
        differs = np.flatnonzero(first[:shared] != other[:shared])
        shared = int(differs[0]) if differs.size else shared
    return shared


def _rows_that_pay(
    data: TrainingSet, pairs: IntArray, inputs: BatchInputs
) -> list[tuple[IntArray, int]]:
    """Return the interactions that are cheaper as one row: texts and tokens shared."""
    assert inputs.attention_cost is not None
    lengths = data.texts.lengths
    found = []
    for part in np.split(pairs, np.flatnonzero(np.diff(data.interaction[pairs])) + 1):
        if len(part) == 0:
            continue
        which = np.unique(np.concatenate([data.chosen[part], data.rejected[part]]))
        if np.any(data.texts.ids[data.texts.offsets[which + 1] - 1] == inputs.pad_id):
            continue  # scored before their last token, which may lie in what they share
        shared = shared_tokens(data.texts, which)
        own = lengths[which]
        row = own.sum() - (len(which) - 1) * shared
        cost_apart = float((own * (1.0 + inputs.attention_cost * own)).sum())
        if row * (1.0 + inputs.attention_cost * row) < SAVING * cost_apart:
            found.append((which, shared))
    return found


def _packed_forwards(
    rows: Sequence[tuple[IntArray, int]], lengths: IntArray, max_tokens: int, min_tokens: int
) -> list[Forward]:
    if not rows:
        return []
    widths = np.array([_row_tokens(lengths, texts, shared) for texts, shared in rows])
    forwards = []
    longest_first = np.argsort(-widths, kind="stable")
    for part in cut_forwards(longest_first, widths, max_tokens=max_tokens, min_tokens=min_tokens):
        taken = [rows[number] for number in part]
        forwards.append(
            Forward(
                np.concatenate([texts for texts, _ in taken]),
                int(widths[part].sum()),
                int(widths[part].max()) * len(part),
                taken,
            )
        )
    return forwards


def _row_tokens(lengths: IntArray, texts: IntArray, shared: int) -> int:
    return int(lengths[texts].sum()) - (len(texts) - 1) * shared


def _pack_rows(
    texts: TokenizedTexts,
    rows: Sequence[tuple[IntArray, int]],
    pad_id: int,
    device: torch.device,
) -> dict[str, Tensor]:
    """Return ids, positions, tree mask (B, 1, T, T) and where to pool (B, R)."""
    lengths = texts.lengths
    width = max(_row_tokens(lengths, which, shared) for which, shared in rows)
    size = (len(rows), width)
    ids = np.full(size, pad_id, dtype=np.int64)
    positions = np.zeros(size, dtype=np.int64)
    segment = np.full(size, -1, dtype=np.int64)  # 0 the prompt, then 1.. a response each
    pool_at = np.zeros((len(rows), max(len(which) for which, _ in rows)), dtype=np.int64)
    for row, (which, shared) in enumerate(rows):
        start = shared
        ids[row, :shared] = texts.tokens_of(which[0])[:shared]
        positions[row, :shared] = np.arange(shared)
        segment[row, :shared] = 0
        for number, text in enumerate(which):
            stop = start + int(lengths[text]) - shared
            ids[row, start:stop] = texts.tokens_of(text)[shared:]
            positions[row, start:stop] = np.arange(shared, lengths[text])
            segment[row, start:stop] = number + 1
            pool_at[row, number] = stop - 1
            start = stop
    part = torch.from_numpy(segment).to(device)
    seen = (part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None])
    mask = torch.tril(torch.ones(width, width, dtype=torch.bool, device=device)) & seen
    return {
        "input_ids": torch.from_numpy(ids).to(device),
        "position_ids": torch.from_numpy(positions).to(device),
        "attention_mask": mask[:, None],
        "pool_at": torch.from_numpy(pool_at).to(device),
    }
