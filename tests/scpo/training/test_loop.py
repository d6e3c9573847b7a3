import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from scpo.config import TrainingConfig
from scpo.countries.scoring import score_texts
from scpo.models.classifier import compute_rewards
from scpo.models.loading import load_reward_model
from scpo.tokens.batches import TrainingSet, plan_steps, shard_step
from scpo.tokens.encoding import encode_texts, pad_texts
from scpo.training import forward_passes, loop
from scpo.training.checkpoints import TrainingStopped
from scpo.training.engines import Optimization, TorchEngine
from scpo.training.fit import fit_on_device
from scpo.training.forward_passes import model_inputs
from scpo.training.loop import count_steps, train_reward_model

CPU = torch.device("cpu")
# Softmax ignores the keys' bias, margins the head's: their gradients are rounding, which Adam
# scales up to whole steps.
WITHOUT_GRADIENT = ("key.bias", "classifier.bias")


def config(**named):
    return TrainingConfig(**({"learning_rate": 1e-3, "precision": "fp32"} | named))


def weights_of(reward):
    return {name: tensor.clone() for name, tensor in reward.model.state_dict().items()}


def naive_loss(reward, data, step, centring):
    """Pair batches: chosen texts in one pass, rejected in another, the formula as printed."""
    sides = [
        compute_rewards(
            reward.model, pad_texts(data.texts, which[step], pad_id=0, with_types=True, device=CPU)
        ).double()
        for which in (data.chosen, data.rejected)
    ]
    margin, total = sides[0] - sides[1], sides[0] + sides[1]
    weights = torch.from_numpy(data.weights[step])
    return (-weights * torch.log(torch.sigmoid(margin)) + centring * total**2).sum() / len(step)


@pytest.mark.parametrize("centring", [0.0, 0.05])
def test_training_is_that_of_naive_pair_batches(tiny_bert, training_set, centring):
    """The same losses, step for step, and the same weights after: so the same gradients."""
    data = training_set(num_interactions=16)
    setting = config(pairs_per_step=10, epochs=2.0, centring=centring, max_tokens_per_forward=60)
    other = type(tiny_bert)(type(tiny_bert.model)(tiny_bert.model.config), tiny_bert.tokenizer)
    other.model.load_state_dict(tiny_bert.model.state_dict())
    other.model.eval()

    result = fit_on_device(tiny_bert, data, setting)

    num_steps = len(result.losses)
    engine = TorchEngine(other, Optimization(1e-3, num_steps))
    losses = []
    for step in plan_steps(data, pairs_per_step=10, num_steps=num_steps, seed=0):
        loss = naive_loss(other, data, step, centring)
        loss.backward()
        engine.step(last=True)
        losses.append(loss.item())
    assert num_steps >= 8
    assert result.losses[0] == pytest.approx(losses[0], rel=1e-6)
    assert result.losses == pytest.approx(losses, rel=1e-4)  # rounding adds up through Adam
    for name, tensor in other.model.state_dict().items():
        if name.endswith(WITHOUT_GRADIENT):
            continue
        torch.testing.assert_close(tiny_bert.model.state_dict()[name], tensor, atol=2e-4, rtol=0)


@pytest.mark.parametrize("centring", [0.0, 0.05])
def test_every_step_has_the_naive_loss(tiny_bert, training_set, centring):
    """At a learning rate that moves nothing, every step is compared at the same weights."""
    data = training_set(num_interactions=16)
    setting = config(pairs_per_step=10, centring=centring, learning_rate=1e-30)
    result = fit_on_device(tiny_bert, data, setting)
    steps = plan_steps(data, pairs_per_step=10, num_steps=len(result.losses), seed=0)
    with torch.no_grad():
        naive = [naive_loss(tiny_bert, data, step, centring).item() for step in steps]
    assert result.losses == pytest.approx(naive, rel=1e-6)


class RankEngine(TorchEngine):
    """One rank of a world whose other ranks run elsewhere: it sums over itself only.

    `told` is what ranks have gathered so far, by rank.
    """

    def __init__(self, reward, rank, world_size, told=None):
        super().__init__(reward, Optimization(1e-30, 4))
        self.rank, self.world_size, self.backward_losses = rank, world_size, []
        self.told = {} if told is None else told

    def gather(self, value):
        self.told[self.rank] = value
        return list(self.told.values())

    def backward(self, loss):
        self.backward_losses.append(loss.item())
        super().backward(loss)


@pytest.mark.parametrize("num_interactions", [1, 2, 16])
def test_the_parts_of_ranks_sum_to_the_naive_loss(tiny_bert, training_set, num_interactions):
    data = training_set(num_interactions=num_interactions)
    steps = plan_steps(data, pairs_per_step=10, num_steps=4, seed=0)
    parts, averaged, forward_passes, told = [], [], [], {}
    for rank in (0, 1, 2, 0, 1, 2):  # with fewer interactions than ranks some have no pair
        if rank == 0:  # the second time every rank knows what the others told
            parts, averaged, forward_passes = [], [], []
        calls = []
        hook = tiny_bert.model.register_forward_pre_hook(lambda *inputs, c=calls: c.append(0))
        engine = RankEngine(tiny_bert, rank, 3, told)
        result = train_reward_model(
            engine,
            data,
            replace(model_inputs(tiny_bert), max_tokens=30),
            pairs_per_step=10,
            seed=0,
            centring=0.05,
        )
        hook.remove()
        parts.append(result.losses)
        averaged.append(engine.backward_losses)
        forward_passes.append(len(calls))
    with torch.no_grad():
        naive = [naive_loss(tiny_bert, data, step, 0.05).item() for step in steps]
    np.testing.assert_allclose(np.sum(parts, axis=0), naive, rtol=1e-5)
    np.testing.assert_allclose(np.mean(averaged, axis=0), naive, rtol=1e-5)  # as ranks average
    assert len(set(forward_passes)) == 1  # sharded weights: every rank gathers as often


def test_a_rank_plans_its_own_shards_however_many_there_are(tiny_bert, training_set, monkeypatch):
    data, planned = training_set(num_interactions=16), []
    monkeypatch.setattr(
        loop,
        "shard_step",
        lambda *given, **which: planned.append(which) or shard_step(*given, **which),
    )
    engine = RankEngine(tiny_bert, 5, 512)
    inputs = model_inputs(tiny_bert)
    train_reward_model(engine, data, inputs, pairs_per_step=10, seed=0)
    assert {which["shard"] for which in planned} == {5}
    assert len(planned) == engine.optimization.num_steps


def test_a_weight_scales_its_pair_and_not_the_others(tiny_bert, training_set):
    data = training_set(num_interactions=8)
    losses = []
    for factor in (1.0, 0.5):
        scaled = replace(data, weights=factor * np.ones(len(data.chosen)))
        setting = config(pairs_per_step=1000, learning_rate=1e-30)
        losses.append(fit_on_device(tiny_bert, scaled, setting).losses[0])
    assert losses[1] == pytest.approx(0.5 * losses[0], rel=1e-6)  # not divided by the weights


def test_weight_zero_teaches_nothing(tiny_bert, training_set):
    before = weights_of(tiny_bert)
    data = training_set(num_interactions=4)
    result = fit_on_device(tiny_bert, replace(data, weights=0.0 * data.weights), config())
    assert set(result.losses) == {0.0}
    for name, tensor in weights_of(tiny_bert).items():
        assert torch.equal(tensor, before[name])


def test_the_seed_decides_everything(model_folder, training_set):
    data = training_set(num_interactions=16)
    runs = []
    for seed in (3, 3, 4):
        reward = load_reward_model(str(model_folder("bert")))
        torch.manual_seed(len(runs))  # what came before must not matter
        result = fit_on_device(reward, data, config(seed=seed))
        runs.append((result.losses, weights_of(reward)))
    assert runs[0][0] == runs[1][0] != runs[2][0]
    assert all(torch.equal(tensor, runs[1][1][name]) for name, tensor in runs[0][1].items())


@pytest.mark.parametrize("kind", ["bert", "deberta", "llama", "qwen2"])
def test_a_learnable_toy_is_learnt(model_folder, training_set, kind):
    reward = load_reward_model(str(model_folder(kind)))
    data = training_set(num_interactions=16, learnable=True)
    result = fit_on_device(reward, data, config(epochs=8.0, learning_rate=5e-3))
    assert np.mean(result.losses[-8:]) < 0.5 * np.mean(result.losses[:8])
    assert not reward.model.training  # dropout stays off


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("epochs", [1.0, 2.0])
def test_whole_epochs_visit_every_pair_as_often(tiny_bert, training_set, seed, epochs):
    data = training_set(num_interactions=60, longest=3)
    num_steps = count_steps(data, epochs=epochs, pairs_per_step=7, seed=seed)
    steps = plan_steps(data, pairs_per_step=7, num_steps=num_steps, seed=seed)
    visits = np.bincount(np.concatenate(steps), minlength=len(data.chosen))
    assert set(visits) == {int(epochs)}


def test_a_fraction_of_an_epoch(training_set):
    data = training_set(num_interactions=60)
    named = {"pairs_per_step": 8, "seed": 0}
    whole, half, more = (count_steps(data, epochs=epochs, **named) for epochs in (1.0, 0.5, 1.5))
    assert abs(half - whole / 2) <= 1
    assert whole < more < 2 * whole
    assert count_steps(data, epochs=1e-9, **named) == 1


@pytest.mark.parametrize("epochs", [0.0, -1.0, math.inf, math.nan])
def test_epochs_must_be_positive(training_set, epochs):
    with pytest.raises(ValueError, match=r"`0 < epochs < inf` must hold"):
        count_steps(training_set(), epochs=epochs, pairs_per_step=8, seed=0)


@pytest.mark.parametrize("poison", ["reward", "gradient"])
def test_what_is_not_finite_stops_with_step_country_and_pairs(
    tiny_bert, training_set, monkeypatch, poison
):
    data = replace(training_set(num_interactions=16), country="Chile")
    named = np.array([f"c{number}:0>1" for number in range(len(data.chosen))])
    data = replace(data, pair_ids=named)
    steps = plan_steps(data, pairs_per_step=8, num_steps=5, seed=0)
    seen = []
    rewards = TorchEngine.rewards

    def poisoned(engine, batch):
        given = rewards(engine, batch)
        if len(seen) < 2:
            return given
        if poison == "gradient":  # the loss is finite, its slope is not
            return given + 0.0 * (given - given.detach()).abs().sqrt()
        return given + torch.tensor([math.nan] + [0.0] * (len(given) - 1))

    monkeypatch.setattr(TorchEngine, "rewards", poisoned)
    what = "loss is nan" if poison == "reward" else "norm of the gradient is nan"
    with pytest.raises(TrainingStopped, match=f"Chile: step 3 .*{what}") as stopped:
        fit_on_device(tiny_bert, data, config(max_tokens_per_forward=10**6), report=seen.append)
    assert any(name in str(stopped.value) for name in named[steps[2]])
    assert not any(name in str(stopped.value) for name in named[steps[1]])
    assert [progress.step for progress in seen] == [1, 2]
    assert all(tensor.isfinite().all() for tensor in weights_of(tiny_bert).values())


def test_margins_of_ten_thousand_do_not_overflow(tiny_bert, training_set):
    data = training_set(num_interactions=4)
    with torch.no_grad():
        tiny_bert.model.classifier.weight.mul_(1e5)
    rewards = score_texts(tiny_bert, data.texts, np.arange(len(data.texts)), precision="fp32")
    margins = rewards[data.chosen] - rewards[data.rejected]
    assert np.abs(margins).max() > 1e4
    for precision in ("fp32", "bf16"):
        result = fit_on_device(tiny_bert, data, config(learning_rate=1e-30, precision=precision))
        assert np.all(np.isfinite(result.losses))
    assert all(tensor.isfinite().all() for tensor in weights_of(tiny_bert).values())


def test_a_margin_asks_for_more(tiny_bert, training_set):
    data = training_set(num_interactions=8)
    margins = np.linspace(-1.0, 2.0, len(data.chosen))
    setting = config(pairs_per_step=1000, learning_rate=1e-30)
    loss = fit_on_device(tiny_bert, replace(data, margins=margins), setting).losses[0]
    rewards = score_texts(tiny_bert, data.texts, np.arange(len(data.texts)), precision="fp32")
    beyond = rewards[data.chosen] - rewards[data.rejected] - margins
    assert loss == pytest.approx(np.mean(data.weights * np.logaddexp(0, -beyond)), rel=1e-5)


@pytest.mark.parametrize("accumulation", [2, 5])
def test_micro_batches_train_as_one_batch_does(model_folder, training_set, accumulation):
    data = training_set(num_interactions=16)
    losses = []
    for count in (1, accumulation):  # with 5, some micro-batches have no pair
        reward = load_reward_model(str(model_folder("bert")))
        setting = config(accumulation=count, pairs_per_step=10, centring=0.05)
        losses.append(fit_on_device(reward, data, setting).losses)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_activation_checkpointing_changes_nothing_but_memory(model_folder, training_set, kind):
    data = training_set(num_interactions=8)
    losses = []
    for given in (False, True):
        reward = load_reward_model(str(model_folder(kind)))
        setting = config(activation_checkpointing=given)
        losses.append(fit_on_device(reward, data, setting).losses)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_shared_prompts_train_as_separate_texts_do(model_folder, training_set, kind, monkeypatch):
    data = training_set(num_interactions=12, kind=kind)
    losses, tokens = [], []
    for saving in (0.0, 10.0):  # never share, always share
        monkeypatch.setattr(forward_passes, "SAVING", saving)
        reward = load_reward_model(str(model_folder(kind)))
        result = fit_on_device(reward, data, config(pairs_per_step=10))
        losses.append(result.losses)
        tokens.append(result.real_tokens)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert tokens[1] < tokens[0]


def test_a_text_of_two_interactions_counts_once_in_shared_rows(
    model_folder, chat_tokenizer, monkeypatch
):
    texts = encode_texts(chat_tokenizer, ["a b c"] * 3, ["good", "bad", "fine"], max_tokens=32)
    data = TrainingSet(texts, np.array([0, 0]), np.array([1, 2]), np.array([0, 1]), np.ones(2))
    norms = []
    for saving in (0.0, 10.0):
        monkeypatch.setattr(forward_passes, "SAVING", saving)
        reward = load_reward_model(str(model_folder("llama")))
        engine = TorchEngine(reward, Optimization(1e-30, 1))
        step = engine.step
        monkeypatch.setattr(engine, "step", lambda s=step, **named: norms.append(s(**named)))
        train_reward_model(engine, data, model_inputs(reward), pairs_per_step=8, seed=0)
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_progress_and_counts(tiny_bert, training_set):
    data = training_set(num_interactions=16)
    seen = []
    result = fit_on_device(tiny_bert, data, config(epochs=2.0), report=seen.append)
    assert [progress.step for progress in seen] == list(range(1, len(result.losses) + 1))
    assert [progress.loss for progress in seen] == result.losses
    assert {progress.num_steps for progress in seen} == {len(result.losses)}
    assert sum(progress.pairs for progress in seen) == result.pairs_seen
    assert result.pairs_seen == 2 * len(data.chosen)
    # every text once an epoch, whatever the number of its pairs
    assert result.real_tokens == 2 * int(data.texts.lengths.sum())
    assert result.real_tokens <= result.padded_tokens <= result.real_tokens / 0.85
    assert result.train_s > 0


def test_padded_tokens_are_those_of_the_batches(tiny_bert, training_set):
    data = training_set(num_interactions=16, longest=40)
    cells = []
    tiny_bert.model.register_forward_pre_hook(
        lambda module, inputs, named: cells.append(named["input_ids"].numel()), with_kwargs=True
    )
    result = fit_on_device(tiny_bert, data, config(max_tokens_per_forward=64))
    assert result.padded_tokens == sum(cells)
    assert max(cells) <= 64


def test_the_cut_into_forwards_does_not_change_the_training(model_folder, training_set):
    losses = []
    for max_tokens in (1, 4096):
        reward = load_reward_model(str(model_folder("bert")))
        setting = config(max_tokens_per_forward=max_tokens)
        losses.append(fit_on_device(reward, training_set(), setting).losses)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_bf16_training_is_near(model_folder, training_set):
    data = training_set(num_interactions=16, learnable=True)
    losses = []
    for precision in ("fp32", "bf16"):
        reward = load_reward_model(str(model_folder("bert")))
        losses.append(fit_on_device(reward, data, config(precision=precision)).losses)
        assert {p.dtype for p in reward.model.parameters()} == {torch.float32}
    np.testing.assert_allclose(losses[0], losses[1], atol=0.15)


def test_the_loop_needs_no_configuration(tiny_bert, training_set):
    data = training_set()
    engine = TorchEngine(tiny_bert, Optimization(1e-3, 3))
    result = train_reward_model(engine, data, model_inputs(tiny_bert), pairs_per_step=8, seed=0)
    assert len(result.losses) == 3
