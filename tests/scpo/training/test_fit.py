from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from scpo.config import LoraConfig, TrainingConfig
from scpo.countries.scoring import score_texts
from scpo.models.export import model_folder as export
from scpo.models.loading import load_reward_model
from scpo.training import fit
from scpo.training.checkpoints import TrainingStopped
from scpo.training.engines import Optimization, TorchEngine
from scpo.training.fit import (
    data_digest,
    fit_on_device,
    fit_with,
    plan_optimization,
    require_agreement,
    resolved_settings,
)

CONFIG = TrainingConfig(learning_rate=1e-3, precision="fp32", pairs_per_step=6)


class ManyRanks(TorchEngine):
    """Rank 0 of a world whose other ranks say something else."""

    def __init__(self, reward, others):
        super().__init__(reward, Optimization(1e-3, 2))
        self.others = others

    def gather(self, value):
        return [value, *({**value, **other} for other in self.others)]


def rewards_of(reward, data):
    return score_texts(reward, data.texts, np.arange(len(data.texts)), precision="fp32")


def test_ranks_that_agree_go_on(tiny_bert, training_set):
    engine = ManyRanks(tiny_bert, [{}, {}])
    require_agreement(engine, resolved_settings(engine, training_set(), CONFIG))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"training.learning_rate": "0.1"}, "training.learning_rate: 0.1, not 0.001"),
        ({"data": "none"}, "data: none, not "),
        ({"version.torch": "1.0"}, "version.torch: 1.0, not 2"),
        ({"extra": "1"}, "extra: 1, not None"),
    ],
)
def test_a_rank_that_differs_stops_the_training(tiny_bert, training_set, other, words):
    engine = ManyRanks(tiny_bert, [{}, other])
    with pytest.raises(TrainingStopped, match=rf"rank 2 differs from rank 0 \({words}"):
        require_agreement(engine, resolved_settings(engine, training_set(), CONFIG))


def test_ranks_are_compared_before_the_first_step(tiny_bert, training_set):
    before = {name: weight.clone() for name, weight in tiny_bert.model.state_dict().items()}
    with pytest.raises(TrainingStopped, match=r"rank 1 differs from rank 0 \(head: other, not"):
        fit_with(
            lambda reward, optimization: ManyRanks(reward, [{"head": "other"}]),
            tiny_bert,
            training_set(),
            CONFIG,
        )
    for name, weight in tiny_bert.model.state_dict().items():
        assert torch.equal(weight, before[name])


def test_the_result_says_what_was_trained_with(tiny_bert, training_set):
    data = training_set()
    settings = fit_on_device(tiny_bert, data, CONFIG).settings
    assert settings["training.learning_rate"] == "0.001"
    assert (settings["engine"], settings["world_size"], settings["precision"]) == (
        "torch", "1", "fp32",
    )  # fmt: skip
    assert settings["data"] == data_digest(data)
    assert settings["version.torch"] == torch.__version__.split("+")[0] or (
        settings["version.torch"] == torch.__version__
    )


def test_the_digest_sees_every_column(training_set):
    data = training_set()
    size, texts = len(data.chosen), data.texts
    changed = [
        data,
        replace(data, texts=replace(texts, ids=texts.ids + 1)),
        replace(data, texts=replace(texts, offsets=np.append(0, texts.offsets[2:]))),
        replace(data, chosen=data.rejected),
        replace(data, rejected=data.chosen),
        replace(data, chosen=data.rejected, rejected=data.chosen),
        replace(data, interaction=2 * data.interaction + 1),
        replace(data, weights=data.weights / 2),
        replace(data, margins=np.ones(size)),
        replace(data, reference=np.ones(len(data.texts))),
        replace(data, texts=data.texts.take(np.arange(len(data.texts)))),
    ]
    digests = [data_digest(each) for each in changed]
    assert digests[0] == digests[-1]
    assert len(set(digests)) == len(changed) - 1


def test_every_setting_reaches_the_optimizer(tiny_bert, training_set):
    config = TrainingConfig(
        learning_rate=3e-4,
        weight_decay=0.2,
        max_grad_norm=0.7,
        schedule="cosine",
        warmup_share=0.25,
        accumulation=3,
        precision="bf16",
        epochs=2.0,
    )
    plan = plan_optimization(training_set(), config, torch.device("cpu"))
    assert replace(plan, num_steps=1) == Optimization(
        learning_rate=3e-4,
        num_steps=1,
        weight_decay=0.2,
        max_grad_norm=0.7,
        precision="bf16",
        schedule="cosine",
        warmup_share=0.25,
        accumulation=3,
    )
    assert plan.num_steps > 1


@pytest.mark.parametrize("kind", ["bert", "deberta", "llama", "qwen2"])
@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2), LoraConfig(rank=2, merge=False)])
def test_the_model_written_scores_as_the_one_trained(
    model_folder, training_set, tmp_path, kind, lora
):
    reward = load_reward_model(str(model_folder(kind)))
    data = training_set(kind=kind)
    before = rewards_of(reward, data)
    data = replace(data, reference=before)
    config = CONFIG.model_copy(update={"lora": lora, "learning_rate": 1e-2})
    out = tmp_path / "out"
    fit_on_device(reward, data, config, out=out)
    after = rewards_of(reward, data)
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_allclose(rewards_of(load_reward_model(str(out)), data), after, atol=1e-4)
    assert (out / "adapter_config.json").exists() is (lora is not None and not lora.merge)


def test_a_model_trained_with_adapters_can_be_trained_again(model_folder, training_set):
    """A lane puts the weights back and goes on with the same model object."""
    reward = load_reward_model(str(model_folder("bert")))
    base = {name: weight.clone() for name, weight in reward.model.state_dict().items()}
    config = CONFIG.model_copy(update={"lora": LoraConfig(rank=2)})
    losses = []
    for _ in range(2):
        reward.model.load_state_dict(base)
        losses.append(fit_on_device(reward, training_set(), config).losses)
    assert losses[0] == losses[1]
    assert all(weight.requires_grad for weight in reward.model.parameters())


def test_activation_checkpointing_reaches_the_layers(model_folder, training_set):
    counts = []
    for given in (False, True):
        reward = load_reward_model(str(model_folder("bert")))
        calls = []
        attention = reward.model.bert.encoder.layer[0].attention
        attention.register_forward_pre_hook(lambda *inputs, c=calls: c.append(0))
        config = CONFIG.model_copy(update={"activation_checkpointing": given})
        fit_on_device(reward, training_set(), config)
        counts.append(len(calls))
    assert counts[1] == 2 * counts[0]


def test_an_export_that_scores_otherwise_stops(tiny_bert, training_set, tmp_path, monkeypatch):
    class Forgetful(TorchEngine):
        def weights(self):
            state = {name: weight.clone() for name, weight in super().weights()}
            state["classifier.weight"].normal_()
            yield from state.items()

    monkeypatch.setattr(fit, "TorchEngine", Forgetful)
    with pytest.raises(TrainingStopped, match="Rewards must agree within"):
        fit_on_device(tiny_bert, training_set(), CONFIG, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("trusted", [False, True])
def test_a_model_with_its_own_code_is_read_back_with_it(
    model_folder, training_set, tmp_path, monkeypatch, trusted
):
    given = []

    def load(*rest, **named):
        given.append(named["trust_remote_code"])
        return load_reward_model(*rest, **named)

    monkeypatch.setattr(export, "load_reward_model", load)
    reward = load_reward_model(str(model_folder("bert")), trust_remote_code=trusted)
    fit_on_device(reward, training_set(), CONFIG, out=tmp_path / "out")
    assert given == [trusted]


@pytest.mark.parametrize("error", [SafetensorError, OSError])
def test_a_full_disk_stops_every_rank_and_keeps_the_checkpoints(
    tiny_bert, training_set, tmp_path, monkeypatch, error
):
    def fail(*rest, **named):
        raise error("I/O error: No space left on device")

    monkeypatch.setattr(fit, "export_reward_model", fail)
    config = CONFIG.model_copy(update={"checkpoint_every": 1})
    out, folder = tmp_path / "out", tmp_path / "checkpoints"
    with pytest.raises(TrainingStopped, match=r"out was not written\. I/O error: No space left"):
        fit_on_device(tiny_bert, training_set(), config, out=out, checkpoints=folder)
    assert list(folder.glob("step-*"))


def test_an_export_that_failed_costs_no_step(model_folder, training_set, tmp_path, monkeypatch):
    def fail(*given, **named):
        raise OSError(28, "No space left on device")

    folder, out, data = tmp_path / "checkpoints", tmp_path / "out", training_set()
    with monkeypatch.context() as patch:
        patch.setattr(fit, "export_reward_model", fail)
        with pytest.raises(TrainingStopped, match=r"was not written.*No space left"):
            fit_on_device(
                load_reward_model(str(model_folder("bert"))),
                data,
                CONFIG,
                out=out,
                checkpoints=folder,
            )
    again = load_reward_model(str(model_folder("bert")))
    result = fit_on_device(again, data, CONFIG, out=out, checkpoints=folder)
    assert result.resumed_from == len(result.losses)
    np.testing.assert_allclose(
        rewards_of(load_reward_model(str(out)), data), rewards_of(again, data), atol=1e-6
    )
    assert not folder.exists()
