import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from scpo.config import LoraConfig, TrainingConfig
from scpo.countries.scoring import score_texts
from scpo.distributed.deepspeed_engine import DeepSpeedEngine, deepspeed_config
from scpo.files.buckets import MANIFEST
from scpo.models.loading import load_reward_model
from scpo.training.engines import TorchEngine
from scpo.training.fit import fit_with
from tests.scpo.distributed.deepspeed_ranks import await_ranks, run_ranks, start_ranks

STAGES = (0, 1, 2, 3)
# Their gradients are rounding only, which Adam scales up to whole steps.
WITHOUT_GRADIENT = ("key.bias",)
USUAL = TrainingConfig(
    pairs_per_step=10,
    learning_rate=1e-3,
    weight_decay=0.01,
    max_grad_norm=0.5,
    centring=0.05,  # so that the head's bias has a gradient too
    precision="fp32",
    max_tokens_per_forward=60,
    epochs=1.1,
)
# name -> (changes of the configuration, further of the case, numbers of ranks, stages)
SETTINGS = {
    "usual": ({}, {}, (2,), STAGES),
    "recomputed": ({"activation_checkpointing": True}, {}, (2,), (3,)),
    "weights offloaded": ({}, {"offload": "weights"}, (2,), (3,)),
    "lora": ({"lora": LoraConfig(rank=2)}, {}, (2,), (3,)),
}
FURTHER = {
    "usual": ({}, {}, (1,), STAGES),
    "accumulated": ({"accumulation": 2}, {}, (2,), (0, 3)),
    "cosine": ({"schedule": "cosine", "warmup_share": 0.2}, {}, (2,), (2,)),
    "optimizer offloaded": ({}, {"offload": "optimizer"}, (2,), (2,)),
    "bf16": ({"precision": "bf16"}, {}, (2,), (3,)),
    "lora": ({"lora": LoraConfig(rank=2)}, {}, (2,), (2,)),
}


EXPORTS = [*((stage, "usual") for stage in STAGES), (3, "lora")]


class StageZero:
    """What DeepSpeed is at stage 0, where it keeps no norm of the gradient."""

    def __init__(self, module):
        self.module, self.num_steps = module, 0

    def step(self):
        self.num_steps += 1

    def get_global_grad_norm(self):
        return None


@pytest.mark.parametrize(("slope", "num_steps"), [(3.0, 1), (float("nan"), 0), (float("inf"), 0)])
def test_stage_0_tells_the_norm_and_takes_no_step_on_nan(slope, num_steps):
    module = torch.nn.Linear(1, 1)
    module.weight.grad, module.bias.grad = torch.full((1, 1), slope), torch.full((1,), 4.0)
    module.register_parameter("frozen", torch.nn.Parameter(torch.zeros(1), requires_grad=False))
    engine = object.__new__(DeepSpeedEngine)
    engine.engine, engine.zero_stage = StageZero(module), 0
    assert engine.step(last=True) == pytest.approx(slope + 2.0, nan_ok=True)  # 3, 4 and 5
    assert engine.engine.num_steps == num_steps
    assert engine.step(last=False) is None
    assert engine.engine.num_steps == num_steps + 1


@pytest.fixture(scope="module")
def data(training_set, model_folder):
    """Weighted pairs with the reference rewards of the model that is trained."""
    made = training_set(num_interactions=16)
    which = np.arange(len(made.texts))
    reward = load_reward_model(str(model_folder("bert")))
    return replace(made, reference=score_texts(reward, made.texts, which, precision="fp32"))


@pytest.fixture(scope="module")
def train_worlds(tmp_path_factory, model_folder, training_set, data):
    """Gives results by (number of ranks, stage, setting), and those of one device in torch."""
    alone = training_set(num_interactions=1, seed=2)  # one of two ranks never has a pair
    model = str(model_folder("bert"))

    def train(settings, stages_of_one_interaction, exports):
        folder = tmp_path_factory.mktemp("ranks")
        configs = {"one interaction": (USUAL, alone)}
        cases = {(2, s, "one interaction"): {"stage": s} for s in stages_of_one_interaction}
        for name, (changes, further, sizes, stages) in settings.items():
            configs[name] = USUAL.model_copy(update=changes), data
            cases |= {
                (size, stage, name): {"stage": stage, **further}
                for size in sizes
                for stage in stages
            }
        for stage, name in exports:
            cases[2, stage, name]["out"] = folder / f"{name}-{stage}"
        started = {}
        for size in {key[0] for key in cases}:
            wanted = {key: case for key, case in cases.items() if key[0] == size}
            jobs = [
                {"model": model, "config": configs[key[2]][0], "data": configs[key[2]][1], **case}
                for key, case in wanted.items()
            ]
            started[size] = wanted, start_ranks(folder, jobs, size)
        results = {"folder": folder}
        for name, (config, pairs) in configs.items():
            fitted = fit_with(TorchEngine, load_reward_model(model), pairs, config)
            weights = {key: w.clone() for key, w in fitted.engine.weights()}
            results["torch", name] = {"losses": fitted.result.losses, "weights": weights}
        for wanted, (ranks, out) in started.values():
            results |= dict(zip(wanted, await_ranks(folder, ranks, out), strict=True))
        return results

    return train


@pytest.fixture(scope="module")
def worlds(train_worlds):
    return train_worlds(SETTINGS, (0, 3), EXPORTS)


@pytest.fixture(scope="module")
def further_worlds(train_worlds):
    return train_worlds(FURTHER, (1, 2), ())


def cases_of(settings):
    return [
        (size, stage, name)
        for name, (_, _, sizes, stages) in settings.items()
        for size in sizes
        for stage in stages
    ]


def check_as_one_device(worlds, world_size, stage, name):
    result, expected = worlds[world_size, stage, name], worlds["torch", name]
    assert "stopped" not in result
    assert len(result["losses"]) >= 10 or name == "one interaction"
    exact = 5e-2 if name == "bf16" else 1e-4
    assert result["losses"] == pytest.approx(expected["losses"], rel=exact)
    assert result["weights"].keys() == expected["weights"].keys()
    for weight, tensor in expected["weights"].items():
        if not (weight.endswith(WITHOUT_GRADIENT) or name == "bf16"):
            torch.testing.assert_close(result["weights"][weight], tensor, atol=2e-4, rtol=1e-4)
    assert result["training"] is False  # dropout stays off


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world_size", "stage", "name"),
    [*cases_of(SETTINGS), *((2, stage, "one interaction") for stage in (0, 3))],
)
def test_ranks_and_stages_train_as_one_device_does(worlds, world_size, stage, name):
    check_as_one_device(worlds, world_size, stage, name)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("world_size", "stage", "name"),
    [*cases_of(FURTHER), *((2, stage, "one interaction") for stage in (1, 2))],
)
def test_further_settings_train_as_one_device_does(further_worlds, world_size, stage, name):
    check_as_one_device(further_worlds, world_size, stage, name)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_starts_from_the_reference_rewards(worlds, stage):
    assert worlds[2, stage, "usual"]["warm_start"] < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "name"), EXPORTS)
def test_every_stage_exports_one_folder_that_scores_the_same(worlds, data, stage, name):
    folder = worlds["folder"] / f"{name}-{stage}"
    assert (folder / "model.safetensors").is_file()
    assert not list(folder.glob("*.bin")) + list(folder.glob("adapter*"))
    reward = load_reward_model(str(folder))
    scores = score_texts(reward, data.texts, np.arange(len(data.texts)), precision="fp32")
    margins = scores[data.chosen] - scores[data.rejected]
    assert np.all(np.isfinite(margins))
    if name == "usual":
        expected = worlds["torch", "usual"]["weights"]
        weight = reward.model.state_dict()["classifier.weight"]
        torch.testing.assert_close(weight, expected["classifier.weight"], atol=2e-4, rtol=1e-4)


def digest(weights):
    found = hashlib.sha256()
    for name in sorted(weights):
        found.update(weights[name].contiguous().numpy().tobytes())
    return found.hexdigest()


def flip_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def shard_of_rank_1(folder):
    return next(folder.rglob("*rank_1_mp*optim_states.pt"))


DAMAGES = {
    "flipped byte": lambda folder: flip_byte(shard_of_rank_1(folder)),
    "cut shard": lambda folder: shard_of_rank_1(folder).write_bytes(b"PK"),
    "missing shard": lambda folder: shard_of_rank_1(folder).unlink(),
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "empty manifest": lambda folder: (folder / MANIFEST).write_text(""),
    "no random states": lambda folder: (folder / "random-rank-00001.pt").unlink(),
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(((1, 2, 3), tuple(DAMAGES)), marks=pytest.mark.exhaustive, id="all"),
        pytest.param(((3,), ("flipped byte", "no manifest")), id="some"),
    ],
)
def resumed(request, tmp_path_factory, model_folder, data):
    """Some stages ended at step 7, one by SIGKILL, then gone on with, whole or damaged."""
    stages, damages = request.param
    folder = tmp_path_factory.mktemp("killed")
    config = USUAL.model_copy(update={"checkpoint_every": 2})
    usual = {"model": str(model_folder("bert")), "data": data, "config": config}
    killed = [
        usual | {"stage": stage, "checkpoints": folder / f"{stage}", "leave_at": 7}
        for stage in stages
    ]
    killed[-1]["die_at"] = killed[-1].pop("leave_at")
    ranks, _ = start_ranks(folder, killed, 2)
    assert ranks[1].wait(timeout=600) == -9
    ranks[0].kill()
    cases = {}
    for stage in stages:
        cases[stage, "never killed"] = usual | {"stage": stage}
        for name in ("whole", *damages):
            copy = folder / f"{stage}-{name}"
            shutil.copytree(folder / f"{stage}", copy)
            if name != "whole":
                DAMAGES[name](copy / "step-00000006")
            cases[stage, name] = usual | {"stage": stage, "checkpoints": copy}
        cases[stage, "another stage"] = usual | {
            "stage": 1 + stage % 3,
            "checkpoints": folder / f"{stage}",
        }
    found = dict(zip(cases, run_ranks(folder, list(cases.values()), 2), strict=True))
    alone = {
        (stage, "another size"): usual | {"stage": stage, "checkpoints": folder / f"{stage}"}
        for stage in stages
    }
    found |= dict(zip(alone, run_ranks(folder, list(alone.values()), 1), strict=True))
    return found | {"stages": stages, "damages": damages}


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_bits(resumed):
    for stage in resumed["stages"]:
        result, expected = resumed[stage, "whole"], resumed[stage, "never killed"]
        assert result["resumed_from"] == 6
        assert result["losses"] == expected["losses"]
        assert digest(result["weights"]) == digest(expected["weights"])


@pytest.mark.slow
def test_a_damaged_checkpoint_never_starts_afresh_or_makes_nan(resumed):
    for stage in resumed["stages"]:
        expected = digest(resumed[stage, "never killed"]["weights"])
        for name in resumed["damages"]:
            result = resumed[stage, name]
            assert result["resumed_from"] == 4, name
            assert len(result["moved_aside"]) == 1, name
            assert digest(result["weights"]) == expected, name


@pytest.mark.slow
def test_another_size_or_stage_is_refused(resumed):
    for stage in resumed["stages"]:
        assert f"written by 2 ranks of zero{stage}" in resumed[stage, "another stage"]["stopped"]
        assert "this training has 1 of" in resumed[stage, "another size"]["stopped"]


@pytest.mark.parametrize("stage", [-1, 4, "2"])
def test_other_stages_are_refused(stage):
    with pytest.raises(ValueError, match=f"zero_stage must be 0, 1, 2 or 3, but got {stage}"):
        deepspeed_config(stage, 1.0)


def test_the_configuration_says_stage_clipping_accumulation_and_offload():
    config = deepspeed_config(3, 0.5, accumulation=4, offload="weights")
    assert config["zero_optimization"] == {
        "stage": 3,
        "offload_optimizer": {"device": "cpu"},
        "offload_param": {"device": "cpu"},
    }
    assert config["gradient_clipping"] == 0.5
    assert config["gradient_accumulation_steps"] == 4
