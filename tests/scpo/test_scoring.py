import math

import numpy as np
import pytest
import torch
from transformers import BertForSequenceClassification

from scpo.classifier import compute_rewards
from scpo.encoding import encode_texts
from scpo.model import load_reward_model
from scpo.scoring import first_token_only, score_texts

PROMPTS = [" ".join("abcdefgh"[: 1 + number % 8]) for number in range(20)]
RESPONSES = [("good ", "bad ")[number % 2] * (1 + number % 5) for number in range(20)]


@pytest.fixture
def texts(pair_tokenizer):
    return encode_texts(pair_tokenizer, PROMPTS, RESPONSES, max_tokens=32)


def test_rewards_come_in_the_order_asked_for(tiny_bert, texts):
    everything = score_texts(tiny_bert, texts, np.arange(20), precision="fp32")
    which = np.array([7, 3, 19, 3])
    some = score_texts(tiny_bert, texts, which, precision="fp32", max_tokens=24)
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


def test_every_forward_is_within_its_tokens(tiny_bert, texts):
    seen = []
    tiny_bert.model.register_forward_pre_hook(
        lambda module, inputs, named: seen.append(named["input_ids"].shape), with_kwargs=True
    )
    score_texts(tiny_bert, texts, np.arange(20), precision="fp32", max_tokens=40)
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


@pytest.mark.parametrize("kind", ["bert", "deberta"])
def test_the_first_token_alone_gives_the_same_rewards_in_less_work(
    model_folder, pair_tokenizer, kind
):
    reward = load_reward_model(str(model_folder(kind)))
    last = reward.model.base_model.encoder.layer[-1]
    seen = []
    last.intermediate.register_forward_pre_hook(
        lambda module, inputs: seen.append(tuple(inputs[0].shape))
    )
    inputs = pair_tokenizer(PROMPTS, RESPONSES, padding=True, return_tensors="pt")
    inputs = {name: inputs[name] for name in reward.tokenizer.model_input_names}
    with torch.inference_mode():
        whole = compute_rewards(reward.model, inputs)
        with first_token_only(reward.model):
            cut = compute_rewards(reward.model, inputs)
        after = compute_rewards(reward.model, inputs)
    width = inputs["input_ids"].shape[1]
    assert seen == [(20, width, 16), (20, 1, 16), (20, width, 16)]
    torch.testing.assert_close(cut, whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(after, whole, atol=0, rtol=0)


def test_the_whole_layer_comes_back_after_an_error(tiny_bert):
    last = tiny_bert.model.bert.encoder.layer[-1]
    with pytest.raises(ValueError, match="input_ids"), first_token_only(tiny_bert.model):
        compute_rewards(tiny_bert.model, {})
    assert not last.attention.output._forward_pre_hooks


class MeanBert(BertForSequenceClassification):
    """Might read every token."""


def test_models_that_may_read_other_tokens_run_whole(tiny_bert, model_folder):
    tiny_bert.model.__class__ = MeanBert
    with first_token_only(tiny_bert.model):
        last = tiny_bert.model.bert.encoder.layer[-1]
        assert not last.attention.output._forward_pre_hooks
    one_layer = load_reward_model(str(model_folder("deberta"))).model
    one_layer.deberta.encoder.layer = one_layer.deberta.encoder.layer[:1]
    with first_token_only(one_layer):
        assert not one_layer.deberta.encoder.layer[0].attention.output._forward_pre_hooks
    with first_token_only(load_reward_model(str(model_folder("llama"))).model):
        pass
