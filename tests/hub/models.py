"""Tiny reward models of the real classes under the names that people use.

Their words are those of the synthetic cultures, which the made-up data sets use too; any other
word is spelt in letters, so that unknown words differ.
"""

import string
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import Unigram
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DebertaV2Tokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from scpo.config import SyntheticConfig
from scpo.data.sources.synthetic import make_synthetic
from tests.hub.repositories import Repository, read_folder

DEBERTA = "OpenAssistant/reward-model-deberta-v3-base"
LLAMA = "allenai/Llama-3.1-Tulu-3-8B-RM"
GATED = "meta-llama/gated-reward-model"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def publish_models(root: Path, work: Path) -> None:
    """Publish the stand-ins in a hub's folder.

    The DeBERTa has two commits of different weights: "main" is the second, the first has the tag
    "v1" and the branch "older". The Llama and the gated model have one.

    Args:
        root: Folder of the hub's repositories.
        work: Folder for the files in between.
    """
    pieces = _pieces()
    deberta = Repository(root, "models", DEBERTA)
    pair_tokenizer = _pair_tokenizer(pieces)
    for seed, branch, tag in ((1, "older", "v1"), (2, "main", None)):
        folder = _write(work / f"deberta-{seed}", _deberta(pair_tokenizer, seed), pair_tokenizer)
        deberta.publish(_with_card(folder, DEBERTA), branch=branch, tag=tag)
    chat_tokenizer = _chat_tokenizer(pieces)
    for name, seed in ((LLAMA, 3), (GATED, 4)):
        folder = _write(work / f"llama-{seed}", _llama(chat_tokenizer, seed), chat_tokenizer)
        files = _with_card(folder, name)
        Repository(root, "models", name).publish(files, gated=name == GATED)


def _pieces() -> list[tuple[str, float]]:
    """Return whole words, and letters that cost more than a whole word."""
    texts = make_synthetic(
        SyntheticConfig(num_countries=1, users_per_country=24, seed=0)
    ).interactions
    said = [*texts["prompt"].to_pylist(), *pc.list_flatten(texts["responses"]).to_pylist()]
    words = {word.strip(string.punctuation) for text in said for word in text.split()}
    letters = sorted(set(string.printable.strip()) | {letter for text in said for letter in text})
    letters = [letter for letter in letters if not letter.isspace()]
    whole = [(f"▁{word}", -6.0) for word in sorted(words) if len(word) > 1]
    return [*whole, ("▁", -8.0), *((letter, -9.0) for letter in letters)]


def _pair_tokenizer(pieces: list[tuple[str, float]]) -> PreTrainedTokenizerBase:
    special = [(name, 0.0) for name in ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")]
    return DebertaV2Tokenizer(vocab=[*special, *pieces], model_max_length=512)


def _chat_tokenizer(pieces: list[tuple[str, float]]) -> PreTrainedTokenizerBase:
    special = (
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<pad>",
        "<unk>",
        "<|user|>",
        "<|assistant|>",
    )
    backend = Tokenizer(Unigram([*((name, 0.0) for name in special), *pieces], unk_id=3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=special[0],
        eos_token=special[1],
        pad_token=special[2],
        unk_token=special[3],
        extra_special_tokens=list(special[4:]),
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _sizes(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,  # rewards of two texts differ visibly
        "num_labels": 1,
    }


def _deberta(tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    kind: dict[str, Any] = {
        "type_vocab_size": 0,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_biased_input": False,
    }
    config = DebertaV2Config(**_sizes(tokenizer), **kind)
    return DebertaV2ForSequenceClassification(config)


def _llama(tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return LlamaForSequenceClassification(
        LlamaConfig(**_sizes(tokenizer), **ends, num_key_value_heads=1)
    )


def _write(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _with_card(folder: Path, name: str) -> dict[str, bytes]:
    """Return the files of a model and those that a client of weights must leave alone."""
    card = f"---\nlicense: apache-2.0\n---\nA tiny stand-in for {name}.\n"
    extra = {"README.md": card.encode(), "pytorch_model.bin": b"pickled weights: never read"}
    return read_folder(folder) | extra
