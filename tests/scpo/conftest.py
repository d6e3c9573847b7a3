"""Tiny models of the real classes, built in place, and tables and training sets to feed them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForSequenceClassification,
)

from scpo.data.interactions import INTERACTIONS_SCHEMA
from scpo.models.loading import load_reward_model
from scpo.models.reward_model import LoadedModel
from scpo.tokens.batches import TrainingSet
from scpo.tokens.encoding import encode_texts

settings.register_profile("unhurried", deadline=None)  # a loaded machine is no failure
settings.load_profile("unhurried")

FEW_RESAMPLES = 60
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "<bos>", "<eos>", "user", "assistant", ":")
WORDS = tuple("a b c d e f g h good bad fine long short warm cold".split())
VOCABULARY = {word: number for number, word in enumerate(SPECIAL + WORDS)}
CHAT_TEMPLATE = (
    "{{ '<bos> ' }}{% for message in messages %}{{ message['role'] }} : {{ message['content'] }}"
    " {{ '<eos> ' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant : ' }}{% endif %}"
)
ENCODERS = ("bert", "deberta")
DECODERS = ("llama", "qwen2")


def make_pair_tokenizer() -> PreTrainedTokenizerFast:
    """[CLS] prompt [SEP] response [SEP], with token types, as BERT's own does."""
    backend = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def make_chat_tokenizer() -> PreTrainedTokenizerFast:
    """A conversation with BOS from the template, and a tokenizer that would add BOS itself."""
    backend = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", VOCABULARY["<bos>"])]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        bos_token="<bos>",
        eos_token="<eos>",
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(kind: str, *, seed: int = 0, num_labels: int = 1) -> PreTrainedModel:
    """A model of two layers whose rewards differ visibly between texts."""
    sizes: dict[str, Any] = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
        "num_labels": num_labels,
        "pad_token_id": 0,
    }
    torch.manual_seed(seed)
    if kind == "bert":
        return BertForSequenceClassification(BertConfig(**sizes))
    if kind == "deberta":
        config = DebertaV2Config(
            **sizes,
            type_vocab_size=0,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            position_buckets=8,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            position_biased_input=False,
        )
        return DebertaV2ForSequenceClassification(config)
    if kind == "llama":
        return LlamaForSequenceClassification(LlamaConfig(**sizes, num_key_value_heads=1))
    return Qwen2ForSequenceClassification(Qwen2Config(**sizes, num_key_value_heads=1))


def write_model(folder: Path, kind: str, *, seed: int = 0, num_labels: int = 1) -> Path:
    """Write a model and its tokenizer as transformers does, without any code of scpo."""
    make_model(kind, seed=seed, num_labels=num_labels).save_pretrained(folder)
    tokenizer = make_pair_tokenizer() if kind in ENCODERS else make_chat_tokenizer()
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def few_resamples() -> Iterator[None]:
    """Draw so few resamples for every interval that a naive loop can follow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scpo.statistics.bootstrap.NUM_RESAMPLES", FEW_RESAMPLES)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two threads on a shared core wait for each other longer than tiny models compute."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny model by kind; do not write to it."""
    made: dict[str, Path] = {}

    def folder_of(kind: str) -> Path:
        if kind not in made:
            made[kind] = write_model(tmp_path_factory.mktemp(kind) / "model", kind)
        return made[kind]

    return folder_of


@pytest.fixture(scope="session")
def model_writer() -> Callable[..., Path]:
    return write_model


@pytest.fixture
def tiny_bert(model_folder: Callable[[str], Path]) -> LoadedModel:
    """A fresh copy of the tiny BERT reward model."""
    return load_reward_model(str(model_folder("bert")))


@pytest.fixture(scope="session")
def pair_tokenizer() -> PreTrainedTokenizerFast:
    return make_pair_tokenizer()


@pytest.fixture(scope="session")
def chat_tokenizer() -> PreTrainedTokenizerFast:
    return make_chat_tokenizer()


def draw_text(rng: np.random.Generator, longest: int) -> str:
    return " ".join(rng.choice(WORDS[:8], rng.integers(1, longest + 1)))


def make_training_set(
    *,
    num_interactions: int = 12,
    seed: int = 0,
    longest: int = 12,
    learnable: bool = False,
    kind: str = "bert",
) -> TrainingSet:
    """Interactions of 2 to 4 responses; learnable: the chosen one says "good"."""
    rng = np.random.default_rng(seed)
    prompts, responses, chosen, rejected, interaction = [], [], [], [], []
    for number in range(num_interactions):
        first, count = len(prompts), int(rng.integers(2, 5))
        prompt = draw_text(rng, 6)
        for position in range(count):
            mark = ("bad", "fine", "good", "warm")[position] if learnable else ""
            prompts.append(prompt)
            responses.append(f"{mark} {draw_text(rng, longest)}".strip())
        low, high = np.triu_indices(count, 1)
        rejected += (first + low).tolist()
        chosen += (first + high).tolist()
        interaction += [7 * number] * len(low)
    tokenizer = make_pair_tokenizer() if kind in ENCODERS else make_chat_tokenizer()
    texts = encode_texts(tokenizer, prompts, responses, max_tokens=64)
    weights = np.ones(len(chosen)) if learnable else rng.uniform(0.1, 1.0, len(chosen))
    return TrainingSet(texts, np.array(chosen), np.array(rejected), np.array(interaction), weights)


@pytest.fixture(scope="session")
def training_set() -> Callable[..., TrainingSet]:
    return make_training_set


def make_interactions(*, users: dict[str, int], per_user: int = 3, seed: int = 0) -> pa.Table:
    """Interactions of 3 scored responses by `users[country]` users of each country."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "interaction_id": f"{country}-{user}-{number}",
            "user_id": f"{country}-{user}",
            "country": country,
            "prompt": draw_text(rng, 5),
            "responses": [f"{mark} {draw_text(rng, 6)}" for mark in ("bad", "fine", "good")],
            "scores": rng.permutation([1.0, 2.0, 3.0]).tolist(),
            "turn": 0,
        }
        for country, count in users.items()
        for user in range(count)
        for number in range(per_user)
    ]
    return pa.Table.from_pylist(rows, schema=INTERACTIONS_SCHEMA)


@pytest.fixture(scope="session")
def interactions() -> Callable[..., pa.Table]:
    return make_interactions
