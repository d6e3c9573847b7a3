import json
import os
import socket
from dataclasses import replace

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from scpo.models.model_cost import ModelCost, measure_model
from scpo.models.training_memory import (
    BUCKET_ELEMENTS,
    FLOAT_BYTES,
    RUNTIME_BYTES,
    estimate_memory,
)
from tests.forked import Forked
from tests.scpo.models.memory_ranks import main

SHARDED = [(0, "none"), (1, "none"), (2, "none"), (3, "none"), (2, "optimizer"), (3, "weights")]
TEXTS, TOKENS = 4, 32
# A thousand weights, a hundred of them trained; round numbers to count with.
COST = ModelCost(weights=1000, trained=100, pass_bytes=1000, text_bytes=5000, layer_bytes=2000)


def test_one_device_by_hand():
    estimate = estimate_memory(COST, num_texts=6, num_passes=2)
    assert estimate.device == {}
    assert estimate.host == {
        "weights": 4000,
        "optimizer": 800,
        "activations and gradients": 6 * 5000 + 2 * 1000 + 1.9 * 3 * 2000,
        "runtime": RUNTIME_BYTES,
    }
    assert sum(estimate.host.values()) == 4000 + 800 + 43400 + RUNTIME_BYTES


def test_one_gpu_by_hand():
    estimate = estimate_memory(COST, num_texts=6, use_gpu=True, keeps_base=True)
    assert estimate.device == {
        "weights": 4000,
        "optimizer": 800,
        "base weights": 4000,
        "activations and gradients": 6 * 5000 + 1000 + 1.9 * 6 * 2000,
        "runtime": RUNTIME_BYTES,
    }
    assert estimate.host == {"model written": 3 * 4000, "runtime": RUNTIME_BYTES}


def test_accumulation_keeps_gradients_beside_activations():
    one, two = (estimate_memory(COST, num_texts=6, accumulation=count) for count in (1, 2))
    extra = two.host["activations and gradients"] - one.host["activations and gradients"]
    assert extra == 400  # 400 + 31000 beside each other, not the larger


def test_the_export_follows_the_last_step():
    estimate = estimate_memory(replace(COST, text_bytes=5, layer_bytes=2), num_texts=1)
    assert estimate.host["activations and gradients"] == 3 * 4000  # gathered to merge adapters
    whole = replace(COST, trained=1000, text_bytes=5, layer_bytes=2)
    estimate = estimate_memory(whole, num_texts=1)
    assert estimate.host["activations and gradients"] == 2 * 4000  # one file, and its copy


def test_shards_shrink_with_the_workers():
    one, four = (
        estimate_memory(COST, num_texts=1, workers=workers, zero_stage=3, use_gpu=True)
        for workers in (1, 4)
    )
    for part in ("weights", "optimizer"):
        assert four.device[part] == one.device[part] / 4


def test_what_is_offloaded_lies_on_the_host():
    estimate = estimate_memory(
        COST, num_texts=1, workers=2, zero_stage=3, offload="weights", use_gpu=True
    )
    assert not {"weights", "optimizer"} & estimate.device.keys()
    assert estimate.host["weights"] == 2000
    assert estimate.host["optimizer"] >= 12 * 50


@pytest.mark.parametrize("name", ["num_texts", "num_passes", "accumulation", "workers"])
def test_numbers_below_one_are_refused(name):
    given = {"num_texts": 1} | {name: 0}
    with pytest.raises(ValueError, match="must be at least 1"):
        estimate_memory(COST, **given)


def test_plain_torch_offloads_nothing():
    with pytest.raises(ValueError, match="ZeRO stage 1 at least"):
        estimate_memory(COST, num_texts=1, offload="optimizer")


@pytest.fixture(scope="module")
def sharded_run(tmp_path_factory):
    """A narrow BERT, and what two ranks measured of it."""
    folder = tmp_path_factory.mktemp("sharded")
    model = folder / "model"
    config = BertConfig(
        vocab_size=600,
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=64,
        num_labels=1,
    )
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(model)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "word"]
    BertTokenizerFast(vocab={word: n for n, word in enumerate(words)}).save_pretrained(model)
    case = {"model": str(model), "texts": TEXTS, "tokens": TOKENS}
    cases = [case | {"stage": stage, "offload": offload} for stage, offload in SHARDED]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    environment = os.environ | {
        "DS_ACCELERATOR": "cpu",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    ranks = []
    for rank in ("0", "1"):
        log, own = folder / f"log-{rank}", environment | {"RANK": rank, "LOCAL_RANK": rank}
        call = Forked(main, cases, folder / "out.json", environment=own, out=log, err=log)
        ranks.append((call, log))
    for call, log in ranks:
        assert call.wait(timeout=600) == 0, log.read_text()[-3000:]
    return model, json.loads((folder / "out.json").read_text())


@pytest.mark.exhaustive
@pytest.mark.parametrize(("stage", "offload"), SHARDED)
def test_the_estimate_holds_for_two_ranks(sharded_run, stage, offload):
    model, measured = sharded_run
    peak = measured[SHARDED.index((stage, offload))]["peak"]
    cost = measure_model(str(model), max_tokens=TOKENS, precision="fp32")
    if stage > 0:  # reserved whole, and on a CPU taken as far as the gradients fill it
        peak += FLOAT_BYTES * (cost.trained - BUCKET_ELEMENTS)
    estimate = estimate_memory(cost, num_texts=TEXTS, workers=2, zero_stage=stage, offload=offload)
    own = sum(estimate.host.values()) - RUNTIME_BYTES
    assert peak <= own <= 1.3 * peak, (estimate.host, measured)
