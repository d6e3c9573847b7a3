import json
import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    LlamaConfig,
)

from scpo.config import LoraConfig
from scpo.models.classifier import adapt_classes, enable_activation_checkpointing
from scpo.models.lora import add_lora
from scpo.models.model_cost import measure_model
from scpo.models.reward_model import LoadedModel
from scpo.models.training_memory import estimate_memory
from scpo.training.engines import Optimization, TorchEngine

ALLOCATIONS = Path(__file__).with_name("allocations.py")
NARROW = {
    "num_hidden_layers": 3,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "vocab_size": 500,
    "max_position_embeddings": 128,
    "num_labels": 1,
    "pad_token_id": 0,
}
CONFIGS = {
    "bert": BertConfig(**NARROW),
    "llama": LlamaConfig(**NARROW, num_key_value_heads=2),
    "deberta": DebertaV2Config(
        **NARROW,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=32,
        share_att_key=True,
        position_biased_input=False,
        type_vocab_size=0,
    ),
}
TOKENS = 96
TEXTS = 8
# (precision, adapters, layers recomputed, forward passes, accumulation)
WAYS = [
    ("fp32", None, False, 1, 1),
    ("fp32", None, True, 2, 1),
    ("bf16", None, False, 2, 1),
    ("bf16", None, True, 1, 1),
    ("fp32", None, False, 1, 2),
    ("bf16", LoraConfig(rank=4), False, 1, 1),
    ("bf16", LoraConfig(rank=4), True, 2, 1),
    ("fp32", LoraConfig(rank=4), True, 1, 1),
]


@pytest.fixture(scope="module", params=CONFIGS)
def config_folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("config") / request.param
    CONFIGS[request.param].save_pretrained(folder)
    return folder


TOKENIZER = SimpleNamespace(pad_token_id=0, eos_token_id=2)


def real_engine(folder, precision, lora, recompute, accumulation):
    """The training engine of a real model, as the training loop makes it."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(CONFIGS[folder.name])
    adapt_classes(model, 0)
    reward = LoadedModel(model.eval(), TOKENIZER)
    if lora is not None:
        reward = add_lora(reward, rank=lora.rank, alpha=lora.alpha)
    if recompute:
        enable_activation_checkpointing(reward.model)
    return TorchEngine(
        reward, Optimization(1e-4, 9, precision=precision, accumulation=accumulation)
    )


@pytest.mark.parametrize(("precision", "lora", "recompute", "passes", "accumulation"), WAYS)
def test_the_estimate_holds_for_real_trainings(
    config_folder, precision, lora, recompute, passes, accumulation
):
    cost = measure_model(
        str(config_folder),
        max_tokens=TOKENS,
        precision=precision,
        lora=lora,
        activation_checkpointing=recompute,
    )
    estimate = estimate_memory(
        cost, num_texts=TEXTS, num_passes=passes, accumulation=accumulation, use_gpu=True
    )
    engine = real_engine(config_folder, precision, lora, recompute, accumulation)
    ids = torch.ones(TEXTS // passes, TOKENS, dtype=torch.long)

    def step():
        for micro in range(accumulation):
            batch = {"input_ids": ids, "attention_mask": ids}
            engine.backward(torch.cat([engine.rewards(batch) for _ in range(passes)]).sum())
            engine.step(last=micro == accumulation - 1)

    step()  # makes the moments
    weights = list(engine.model.parameters())
    trained = [weight for weight in weights if weight.requires_grad]
    moments = [v for state in engine.optimizer.state.values() for v in state.values() if v.ndim]
    assert estimate.device["weights"] == sum(weight.nbytes for weight in weights)
    assert estimate.device["optimizer"] == sum(moment.nbytes for moment in moments)
    assert cost.trained == sum(weight.numel() for weight in trained)
    # An upper side, and at most seven tenths above what the allocator saw.
    above = runpy.run_path(str(ALLOCATIONS))["peak_above"](step)
    assert above <= estimate.device["activations and gradients"] <= 1.7 * above


def test_gradients_that_outweigh_activations_count(tiny_backbone):
    cost = measure_model(str(tiny_backbone), max_tokens=8, precision="fp32")
    kept = cost.text_bytes + cost.pass_bytes
    assert kept < 4 * cost.trained
    estimate = estimate_memory(cost, num_texts=1, use_gpu=True)
    assert estimate.device["activations and gradients"] == math.ceil(
        4 * cost.trained + 1.9 * (cost.layer_bytes + cost.layer_pass_bytes)
    )


def test_no_more_tokens_than_positions_are_counted(tiny_backbone):
    most, more = (
        measure_model(str(tiny_backbone), max_tokens=tokens, precision="fp32")
        for tokens in (128, 4096)
    )
    assert more == most
    fewer = measure_model(str(tiny_backbone), max_tokens=64, precision="fp32")
    assert fewer.text_bytes < most.text_bytes


def test_an_adapter_counts_as_its_base(tiny_backbone, tmp_path):
    adapter = {"base_model_name_or_path": str(tiny_backbone), "revision": None}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    measured = [
        measure_model(str(folder), max_tokens=32, precision="fp32")
        for folder in (tmp_path, tiny_backbone)
    ]
    assert measured[0] == measured[1]


def test_a_folder_without_configuration_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json"):
        measure_model(str(tmp_path), max_tokens=32, precision="fp32")


def test_a_model_that_classifies_nothing_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip_vision_model"}))
    with pytest.raises(ValueError, match="Unrecognized configuration class"):
        measure_model(str(tmp_path), max_tokens=32, precision="fp32")
