import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from scpo.deepspeed_engine import deepspeed_config
from scpo.engines import TorchEngine
from scpo.fitting import batch_inputs
from scpo.model import load_reward_model, save_reward_model
from scpo.scoring import score_texts
from scpo.training import train_reward_model

SCRIPT = Path(__file__).with_name("deepspeed_ranks.py")
STAGES = (0, 1, 2, 3)
CASES = ("usual", "one_interaction")
# Their gradients are rounding only, which Adam scales up to whole steps.
WITHOUT_GRADIENT = ("key.bias",)


def make_cases(training_set):
    """The settings of each kind; both centred, so that the head's bias has a gradient too."""
    usual = {
        "data": training_set(num_interactions=16),
        "pairs_per_step": 10,
        "num_steps": 10,
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "max_grad_norm": 0.5,
        "centring": 0.05,
        "max_tokens": 60,
        "seed": 0,
    }
    # of two ranks one has no pair in any step, and fewer forward passes than the other
    alone = usual | {"data": training_set(num_interactions=1, seed=2), "num_steps": 2}
    return {"usual": usual, "one_interaction": alone}


def launch(folder, model, cases, world_size):
    """Start the ranks of one world; every stage and case runs in the same processes.

    The first call ever on a machine takes a minute more: DeepSpeed compiles a collective.
    """
    job, out = folder / f"job-{world_size}.pickle", folder / f"out-{world_size}.pickle"
    jobs = [case | {"stage": stage} for stage in STAGES for case in cases]
    job.write_bytes(pickle.dumps({"model": str(model), "cases": jobs}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in range(world_size):
        environment = os.environ | {
            "DS_ACCELERATOR": "cpu",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TOKENIZERS_PARALLELISM": "false",
        }
        with (folder / f"log-{world_size}-{rank}").open("wb") as log:
            command = [sys.executable, str(SCRIPT), str(job), str(out)]
            ranks.append(
                subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            )
    return ranks, out


@pytest.fixture(scope="module")
def worlds(tmp_path_factory, model_folder, training_set):
    """Results by (world size, stage, case), and those of one device in plain torch."""
    folder = tmp_path_factory.mktemp("ranks")
    model, cases = model_folder("bert"), make_cases(training_set)
    kinds = {1: CASES[:1], 2: CASES}  # a rank without pairs needs another rank
    started = {
        size: launch(folder, model, [cases[kind] for kind in kinds[size]], size) for size in kinds
    }
    results = {}
    try:
        for kind, case in cases.items():
            results["torch", kind] = train_plainly(model, case)
        for size, (ranks, out) in started.items():
            for number, rank in enumerate(ranks):
                code = rank.wait(timeout=300)
                assert code == 0, (folder / f"log-{size}-{number}").read_text()[-4000:]
            found = iter(pickle.loads(out.read_bytes()))
            results |= {
                (size, stage, kind): next(found) for stage in STAGES for kind in kinds[size]
            }
    finally:
        for ranks, _ in started.values():
            for rank in ranks:
                rank.kill()
                rank.wait()
    return results


def train_plainly(model, case):
    reward = load_reward_model(str(model))
    engine = TorchEngine(
        reward,
        learning_rate=case["learning_rate"],
        num_steps=case["num_steps"],
        weight_decay=case["weight_decay"],
        max_grad_norm=case["max_grad_norm"],
    )
    result = train_reward_model(
        engine,
        case["data"],
        batch_inputs(reward),
        num_steps=case["num_steps"],
        pairs_per_step=case["pairs_per_step"],
        seed=case["seed"],
        centring=case["centring"],
        max_tokens=case["max_tokens"],
    )
    return {"losses": result.losses, "weights": engine.gather_weights()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world_size", "kind"), [(1, "usual"), (2, "usual"), (2, "one_interaction")]
)
@pytest.mark.parametrize("stage", STAGES)
def test_ranks_and_stages_train_as_one_device_does(worlds, world_size, stage, kind):
    result, expected = worlds[world_size, stage, kind], worlds["torch", kind]
    assert result["losses"] == pytest.approx(expected["losses"], rel=1e-4)
    assert result["weights"].keys() == expected["weights"].keys()
    for name, tensor in expected["weights"].items():
        if not name.endswith(WITHOUT_GRADIENT):
            torch.testing.assert_close(result["weights"][name], tensor, atol=1e-4, rtol=1e-4)
    assert result["training"] is False  # dropout stays off


@pytest.mark.slow
def test_gathered_weights_make_a_model_that_scores_the_same(
    worlds, model_folder, training_set, tmp_path
):
    texts = training_set(num_interactions=16).texts
    reward = load_reward_model(str(model_folder("bert")))
    scores = []
    for key in ((2, 3, "usual"), ("torch", "usual")):
        folder = save_reward_model(reward, tmp_path / str(key[0]), worlds[key]["weights"])
        trained = load_reward_model(str(folder))
        scores.append(score_texts(trained, texts, np.arange(len(texts)), precision="fp32"))
    np.testing.assert_allclose(*scores, atol=1e-4)


@pytest.mark.parametrize("stage", [-1, 4, "2"])
def test_other_stages_are_refused(stage):
    with pytest.raises(ValueError, match=f"zero_stage must be 0, 1, 2 or 3, but got {stage}"):
        deepspeed_config(stage, 1.0)


def test_the_configuration_says_stage_and_clipping():
    config = deepspeed_config(2, 0.5)
    assert config["zero_optimization"] == {"stage": 2}
    assert config["gradient_clipping"] == 0.5
