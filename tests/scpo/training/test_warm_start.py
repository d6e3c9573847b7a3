from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from scpo.config import TrainingConfig
from scpo.countries.scoring import score_texts
from scpo.models.loading import load_reward_model
from scpo.tokens.batches import TrainingSet
from scpo.tokens.encoding import encode_texts
from scpo.training import forward_passes, warm_start
from scpo.training.checkpoints import TrainingStopped
from scpo.training.engines import Optimization, TorchEngine
from scpo.training.fit import fit_on_device
from scpo.training.forward_passes import BatchInputs, model_inputs
from scpo.training.warm_start import (
    TOLERANCE,
    ProvenStarts,
    prove_warm_start,
    sample_texts,
)

CONFIG = TrainingConfig(learning_rate=1e-3, precision="fp32")
KINDS = ("bert", "deberta", "llama", "qwen2")


@pytest.fixture
def referred(model_folder, training_set):
    """A model and its training set, with the model's own rewards as the reference."""

    def make(kind="bert"):
        reward = load_reward_model(str(model_folder(kind)))
        data = training_set(kind=kind, longest=20)
        rewards = score_texts(reward, data.texts, np.arange(len(data.texts)), precision="fp32")
        return reward, replace(data, reference=rewards, country="Chile")

    return make


def prove(reward, data, precision="fp32", inputs=None):
    engine = TorchEngine(reward, Optimization(1e-3, 1, precision=precision))
    return prove_warm_start(engine, data, inputs or model_inputs(reward))


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_that_gave_the_rewards_may_start(referred, kind):
    reward, data = referred(kind)
    assert prove(reward, data) < 1e-5
    assert fit_on_device(reward, data, CONFIG).warm_start < 1e-5


def test_bf16_stays_within_its_tolerance(referred):
    assert 0 < prove(*referred(), precision="bf16") < TOLERANCE["bf16"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_head_is_refused_before_the_first_step(referred, kind):
    reward, data = referred(kind)
    head = reward.model.score if kind in ("llama", "qwen2") else reward.model.classifier
    torch.manual_seed(5)
    torch.nn.init.normal_(head.weight)
    before = {name: weight.clone() for name, weight in reward.model.state_dict().items()}
    with pytest.raises(TrainingStopped, match=r"Chile must start from the model that gave.*"
                       r"unrelated: the head is a new one"):  # fmt: skip
        fit_on_device(reward, data, CONFIG)
    assert all(torch.equal(w, before[name]) for name, w in reward.model.state_dict().items())


def test_dropout_is_found(referred):
    reward, data = referred()
    for module in reward.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
    reward.model.train()
    with pytest.raises(TrainingStopped, match="Dropout is on"):
        prove(reward, data)


def test_training_switches_dropout_off(referred):
    reward, data = referred()
    reward.model.train()
    assert fit_on_device(reward, data, CONFIG).warm_start < 1e-5


def test_pooling_or_padding_is_found(referred):
    reward, data = referred("llama")
    forward = type(reward.model).forward

    def pool_last(self, input_ids, attention_mask, **named):
        self.config.pad_token_id = -1  # no token is padding
        return forward(self, input_ids, torch.ones_like(attention_mask), **named)

    broken = type("Broken", (type(reward.model),), {"forward": pool_last})
    reward.model.__class__ = broken
    with pytest.raises(TrainingStopped, match="Pooling or padding: alone, each text has"):
        prove(reward, data)


def test_a_wrong_padding_token_does_no_harm(referred):
    reward, data = referred()
    assert prove(reward, data, inputs=BatchInputs(7, True)) < 1e-5


def test_truncation_is_found(model_folder):
    reward = load_reward_model(str(model_folder("bert")))
    prompts = ["a b"] * 6 + ["a b c d e f g h a b c d"] * 2
    responses = ["good", "bad", "c d", "e f", "g", "h a b", "good fine bad cold", "warm h"]
    whole, cut = (
        encode_texts(reward.tokenizer, prompts, responses, max_tokens=size) for size in (64, 12)
    )
    rewards = score_texts(reward, whole, np.arange(8), precision="fp32")
    data = _pairs(cut, rewards)
    with pytest.raises(TrainingStopped, match="Truncation: only the longest texts differ"):
        prove(reward, data)


def test_another_scale_is_told_from_another_model(referred):
    reward, data = referred()
    with torch.no_grad():
        reward.model.classifier.weight.mul_(1.1)
        reward.model.classifier.bias.mul_(1.1)
    with pytest.raises(TrainingStopped, match="rank alike: another dtype or a small change"):
        prove(reward, data)


def test_another_template_is_refused(model_folder):
    reward = load_reward_model(str(model_folder("llama")))
    prompts, responses = ["a b"] * 4, ["good", "bad c", "e f g", "cold"]
    texts = encode_texts(reward.tokenizer, prompts, responses, max_tokens=64)
    rewards = score_texts(reward, texts, np.arange(4), precision="fp32")
    reward.tokenizer.chat_template = reward.tokenizer.chat_template.replace("' : '", "' '")
    reward.tokenizer.chat_template = reward.tokenizer.chat_template.replace(" : ", " ")
    other = encode_texts(reward.tokenizer, prompts, responses, max_tokens=64)
    assert len(other.ids) < len(texts.ids)
    with pytest.raises(TrainingStopped, match="must start from the model"):
        prove(reward, _pairs(other, rewards))


def test_texts_of_one_length_are_not_called_truncated(model_folder):
    reward = load_reward_model(str(model_folder("bert")))
    responses = ["good c", "bad c", "e f", "g h"]
    texts = encode_texts(reward.tokenizer, ["a b"] * 4, responses, max_tokens=64)
    assert len(set(texts.lengths)) == 1
    rewards = score_texts(reward, texts, np.arange(4), precision="fp32")
    torch.manual_seed(5)
    torch.nn.init.normal_(reward.model.classifier.weight)
    with pytest.raises(TrainingStopped, match="the head is a new one"):
        prove(reward, _pairs(texts, rewards))


def test_rewards_that_are_not_a_number_are_refused(referred):
    reward, data = referred()
    with torch.no_grad():
        reward.model.classifier.weight.fill_(float("nan"))
    with pytest.raises(TrainingStopped, match=r"differ by nan of.*unrelated"):
        prove(reward, data)


@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_what_is_allowed_grows_and_shrinks_with_the_rewards(referred, size):
    reward, data = referred()
    rms = np.sqrt(np.mean(data.reference[sample_texts(data)] ** 2))
    with torch.no_grad():
        reward.model.classifier.weight.mul_(size)
        reward.model.classifier.bias.mul_(size)
    near, far = (replace(data, reference=size * (data.reference + off * rms))
                 for off in (5e-4, 2e-3))  # fmt: skip
    assert prove(reward, near) == pytest.approx(5e-4, rel=0.05)
    with pytest.raises(TrainingStopped, match=r"differ by 0\.002 of their size"):
        prove(reward, far)


def test_rewards_of_zero_may_start(referred):
    reward, data = referred()
    with torch.no_grad():
        reward.model.classifier.weight.zero_()
        reward.model.classifier.bias.zero_()
    assert prove(reward, replace(data, reference=0.0 * data.reference)) == 0.0


class SecondRank(TorchEngine):
    """Rank 1, where every answer that ranks give is rank 0's."""

    def __init__(self, reward, answer):
        super().__init__(reward, Optimization(1e-3, 1))
        self.rank, self.world_size, self.answer = 1, 2, answer

    def gather(self, value):
        return [self.answer, value]


def test_rank_0_decides_for_all(referred):
    """A rank that stopped, or went on, alone would wait for the others for ever."""
    reward, data = referred()
    with pytest.raises(TrainingStopped, match="must start from the model"):
        prove_warm_start(SecondRank(reward, False), data, model_inputs(reward))
    with torch.no_grad():
        reward.model.classifier.bias += 1.0
    prove_warm_start(SecondRank(reward, True), data, model_inputs(reward))


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_rows_that_share_a_prompt_are_proven_too(referred, monkeypatch, kind):
    monkeypatch.setattr(forward_passes, "SAVING", 10.0)
    reward, data = referred(kind)
    assert prove(reward, data) < 1e-5
    pack = forward_passes._pack_rows

    def pack_without_mask(*given):
        packed = pack(*given)
        return packed | {"attention_mask": torch.ones_like(packed["attention_mask"]).tril()}

    monkeypatch.setattr(forward_passes, "_pack_rows", pack_without_mask)
    with pytest.raises(TrainingStopped, match="Shared prompts: a text in a row of its own has"):
        prove(reward, data)


def test_references_are_needed(referred):
    reward, data = referred()
    with pytest.raises(ValueError, match="Reference rewards must be given"):
        prove(reward, replace(data, reference=None))


def test_the_sample_spreads_over_lengths(training_set):
    data = training_set(num_interactions=40, longest=30)
    lengths = data.texts.lengths[sample_texts(data)]
    assert len(lengths) == 8
    assert (lengths[0], lengths[-1]) == (data.texts.lengths.max(), data.texts.lengths.min())
    assert np.all(np.diff(lengths) <= 0)


def _pairs(texts, rewards):
    number = np.arange(len(texts) // 2)
    return TrainingSet(
        texts, 2 * number, 2 * number + 1, number, np.ones(len(number)), reference=rewards
    )


@pytest.fixture
def counted(monkeypatch):
    """The proofs that were made by forward passes."""
    made = []

    def prove(*given):
        made.append(given)
        return prove_warm_start(*given)

    monkeypatch.setattr(warm_start, "prove_warm_start", prove)
    return made


def start_again(starts, reward, data, texts, reference):
    proof = partial(starts.prove, texts=texts, reference=reference)
    return fit_on_device(reward, data, CONFIG, prove=proof).warm_start


def test_a_start_is_proven_once_for_the_same_weights_and_texts(referred, counted):
    reward, data = referred()
    base = {name: weight.clone() for name, weight in reward.model.state_dict().items()}
    starts = ProvenStarts(base)
    differences = []
    for _ in range(3):
        reward.model.load_state_dict(base)
        differences.append(start_again(starts, reward, data, data.texts, data.reference))
    assert len(counted) == 1
    assert differences == differences[:1] * 3

    reward.model.load_state_dict(base)
    start_again(starts, reward, data, data.texts, data.reference.copy())  # of another country
    assert len(counted) == 2


def test_other_weights_are_never_taken_as_proven(referred, counted):
    reward, data = referred()
    base = {name: weight.clone() for name, weight in reward.model.state_dict().items()}
    starts = ProvenStarts(base)
    start_again(starts, reward, data, data.texts, data.reference)
    with pytest.raises(TrainingStopped, match="must start from the model that gave"):
        start_again(starts, reward, data, data.texts, data.reference)  # trained meanwhile
    assert len(counted) == 2
