import math

import numpy as np
import pytest
import torch

from scpo.countries import scoring
from scpo.countries.scoring import score_texts
from scpo.tokens.encoding import encode_texts

PROMPTS = [" ".join("abcdefgh"[: 1 + number % 8]) for number in range(20)]
RESPONSES = [("good ", "bad ")[number % 2] * (1 + number % 5) for number in range(20)]


@pytest.fixture
def texts(pair_tokenizer):
    return encode_texts(pair_tokenizer, PROMPTS, RESPONSES, max_tokens=32)


def allow_tokens(monkeypatch, most):
    monkeypatch.setattr(scoring, "forward_tokens", lambda device: (0, most))


def test_rewards_come_in_the_order_asked_for(tiny_bert, texts, monkeypatch):
    everything = score_texts(tiny_bert, texts, np.arange(20), precision="fp32")
    which = np.array([7, 3, 19, 3])
    allow_tokens(monkeypatch, 24)
    some = score_texts(tiny_bert, texts, which, precision="fp32")
    np.testing.assert_allclose(some, everything[which], atol=1e-6)
    assert some.dtype == np.float64
    assert np.array_equal(everything, everything.astype(np.float32))
    assert score_texts(tiny_bert, texts, np.zeros(0, dtype=np.int64)).shape == (0,)


def test_dropout_is_off_and_gradients_are_not_kept(tiny_bert, texts):
    tiny_bert.model.train()
    first = score_texts(tiny_bert, texts, np.arange(20), precision="fp32")
    assert not tiny_bert.model.training
    np.testing.assert_array_equal(
        score_texts(tiny_bert, texts, np.arange(20), precision="fp32"), first
    )
    assert all(parameter.grad is None for parameter in tiny_bert.model.parameters())
    assert tiny_bert.model.config.hidden_dropout_prob > 0


def test_every_forward_is_within_its_tokens(tiny_bert, texts, monkeypatch):
    seen = []
    tiny_bert.model.register_forward_pre_hook(
        lambda module, inputs, named: seen.append(named["input_ids"].shape), with_kwargs=True
    )
    allow_tokens(monkeypatch, 40)
    score_texts(tiny_bert, texts, np.arange(20), precision="fp32")
    assert sum(shape[0] for shape in seen) == 20
    assert all(shape[0] * shape[1] <= 40 for shape in seen)


def test_bf16_is_near(tiny_bert, texts):
    fine, coarse = (
        score_texts(tiny_bert, texts, np.arange(20), precision=precision)
        for precision in ("fp32", "bf16")
    )
    np.testing.assert_allclose(coarse, fine, atol=0.15)
    assert not np.array_equal(coarse, fine)


def test_a_reward_that_is_not_finite_stops(tiny_bert, texts):
    with torch.no_grad():
        tiny_bert.model.classifier.bias.fill_(math.nan)
    message = r"Rewards must be finite, but 2 of 2 texts .*first: text 4\).*precision: fp32"
    with pytest.raises(RuntimeError, match=message):
        score_texts(tiny_bert, texts, np.array([4, 5]))


def test_unknown_precisions_are_refused(tiny_bert, texts):
    with pytest.raises(ValueError, match="precision must be auto, fp32 or bf16, but got 'fp16'"):
        score_texts(tiny_bert, texts, np.arange(2), precision="fp16")
