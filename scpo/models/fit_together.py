"""Whether a model and its tokenizer fit: words, positions, and rewards that padding leaves alone.

Where they do not, transformers fails deep inside an embedding, or scores the padding without a
word. Everything is refused here by the model's name, before the first reward.
"""

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from scpo.arrays import IntArray
from scpo.models.classifier import plain_model, pools_by_id, reads_first_token
from scpo.tokens.pair_layout import reads_pairs

_TOLERANCE = {torch.float32: 1e-4}  # of the rewards' size, of weights in this precision
_COARSE_TOLERANCE = 2e-2


def check_vocabulary(
    name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse a tokenizer without words, or with tokens or token types that the model lacks."""
    vocabulary = tokenizer.get_vocab()
    if len(vocabulary) <= len(set(tokenizer.all_special_tokens)):
        raise ValueError(
            f"{name}: the tokenizer knows no words, only {len(vocabulary)} special tokens. Put "
            "the tokenizer's files of this model beside its weights."
        )
    token, largest = max(vocabulary.items(), key=lambda item: item[1])
    embeddings: Any = model.get_input_embeddings()
    known = int(embeddings.weight.shape[0])
    if largest >= known:
        raise ValueError(
            f"{name}: the tokenizer has token {token!r} of id {largest}, but the model has "
            f"embeddings of {known} tokens. Take the tokenizer that it was trained with, or "
            "resize its embeddings."
        )
    kinds = _embedding(model, "token_type_embeddings")
    if kinds is None or not (tokenizer.is_fast and reads_pairs(tokenizer.chat_template)):
        return
    if "token_type_ids" in tokenizer.model_input_names:
        highest = max(tokenizer("a", "b").encodings[0].type_ids)
        if highest >= kinds.num_embeddings:
            raise ValueError(
                f"{name}: the tokenizer gives token type {highest}, but the model has "
                f"{kinds.num_embeddings} (type_vocab_size). Take the tokenizer that it was "
                "trained with."
            )


def check_padding(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a model that scores a text otherwise when it stands beside a longer one.

    Decoders that find their last token by the padding's id are asked by the two configurations.
    Classes that are not known score two short texts alone and together.
    """
    pad_id, end_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    own = model.config.get_text_config().pad_token_id
    if pools_by_id(model):
        if own not in (None, pad_id):
            raise ValueError(
                f"{name}: config.json says pad_token_id {own}, but the tokenizer pads with "
                f"{pad_id} ({tokenizer.pad_token!r}), so transformers would score the padding. "
                "Set both to one token."
            )
        if own is None and pad_id == end_id:
            raise ValueError(
                f"{name}: the tokenizer pads with its end token and config.json has no "
                "pad_token_id, so programs score another token each. Set pad_token_id there: to "
                f"{pad_id} where the model was trained so, else to an unused token, as pad_token."
            )
        return
    if reads_first_token(model):
        return
    texts = [_probe(tokenizer, "a"), _probe(tokenizer, "a b c a b c a b c")]
    if not texts[0] or len(texts[0]) == len(texts[1]):
        return
    try:
        alone = torch.stack([_score(model, [text], pad_id)[0] for text in texts])
        if own is None:
            model.config.get_text_config().pad_token_id = pad_id
        together = _score(model, texts, pad_id)
    except (ValueError, RuntimeError, IndexError, TypeError) as error:
        raise ValueError(
            f"{name}: {type(model).__name__} must score padded texts, but "
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error
    allowed = _TOLERANCE.get(model.dtype, _COARSE_TOLERANCE) * max(1.0, float(alone.abs().max()))
    difference = float((alone - together).abs().max())
    if difference > allowed:
        raise ValueError(
            f"{name}: {type(model).__name__} must score a text alike alone and beside a longer "
            f"one, but rewards differ by {difference:.3g}: it scores the padding "
            f"({tokenizer.pad_token!r}, id {pad_id}; pad_token_id of config.json is {own}). Set "
            "both to one unused token, or take another kind of model."
        )


def num_positions(model: nn.Module) -> int | None:
    """Return how many tokens a text may have; None for a model without a table of positions."""
    plain = plain_model(model)
    for name in ("position_embeddings", "wpe", "embed_positions", "embed_position"):
        table = _embedding(plain, name)
        if table is not None:
            before = getattr(table, "offset", 0)  # OPT's and BART's begin at 2
            if table.padding_idx is not None and not before:
                before = table.padding_idx + 1  # RoBERTa counts from behind its padding's
            return int(table.num_embeddings) - before
    return None


def check_lengths(model: nn.Module, lengths: IntArray) -> None:
    """Refuse texts, of so many tokens each, that are longer than the model has positions.

    Raises:
        ValueError: There are some.
    """
    positions = num_positions(model)
    longest = int(np.max(lengths, initial=0))
    if positions is not None and longest > positions:
        plain = plain_model(model)
        raise ValueError(
            f"{plain.name_or_path or type(plain).__name__} has {positions} positions, but texts "
            f"have up to {longest} tokens. Lower --max-tokens (encoder.max_tokens) to {positions}."
        )


def takes_argument(model: nn.Module, name: str) -> bool:
    """Tell whether a model's forward pass names an argument, or passes it on to one that does."""
    for kind in type(plain_model(model)).__mro__:
        if "forward" in vars(kind):
            parameters = inspect.signature(vars(kind)["forward"]).parameters
            if name in parameters:
                return True
            if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
                return False
    return False


def _embedding(model: PreTrainedModel, name: str) -> nn.Embedding | None:
    """Return the first embedding of a backbone whose attribute has a name."""
    for path, module in model.base_model.named_modules():
        if path.rpartition(".")[2] == name and isinstance(module, nn.Embedding):
            return module
    return None


def _probe(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return a text's tokens with the end token, where there is one."""
    ids: list[int] = list(tokenizer(text)["input_ids"])
    end_id = tokenizer.eos_token_id
    return ids if end_id is None or end_id in ids else [*ids, end_id]


def _score(model: PreTrainedModel, texts: list[list[int]], pad_id: int) -> Tensor:
    """Return the plain class's rewards of texts, padded at the right."""
    width = max(map(len, texts))
    ids = torch.tensor([text + [pad_id] * (width - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts])
    with torch.inference_mode():
        logits: Tensor = model(input_ids=ids, attention_mask=mask).logits
    return logits[:, 0].float()
