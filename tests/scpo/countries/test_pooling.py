"""What is read of each text, against plain transformers and against the rewards."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModel

from scpo.countries import scoring
from scpo.countries.features import compute_features
from scpo.countries.pooling import reward_head
from scpo.countries.scoring import score_texts
from scpo.models.loading import load_reward_model
from scpo.models.lora import add_lora
from scpo.models.reward_model import LoadedModel
from scpo.tokens.encoding import encode_texts

PROMPTS = [" ".join("abcdefgh"[: 1 + number % 8]) for number in range(30)]
RESPONSES = [("good ", "bad ", "fine ")[number % 3] + "h " * (number // 8) for number in range(30)]
ALL = np.arange(30)
KINDS = ["bert", "deberta", "llama", "qwen2"]


def encode(reward: LoadedModel):
    return encode_texts(reward.tokenizer, PROMPTS, RESPONSES, max_tokens=40)


@pytest.fixture
def texts(tiny_bert):
    return encode(tiny_bert)


@pytest.mark.parametrize("kind", KINDS)
def test_mean_features_are_the_mean_of_a_text_s_last_states_alone(
    kind, model_folder: Callable[[str], Path]
):
    folder = model_folder(kind)
    reward = load_reward_model(str(folder))
    texts = encode(reward)
    found = compute_features(reward, texts, ALL[::-1], pooling="mean", precision="fp32")
    plain = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    for text, vector in zip(ALL[::-1].tolist(), found, strict=True):
        tokens = slice(texts.offsets[text], texts.offsets[text + 1])
        given = {"input_ids": torch.from_numpy(texts.ids[tokens].astype(np.int64))[None]}
        if "token_type_ids" in reward.tokenizer.model_input_names:
            given["token_type_ids"] = torch.from_numpy(texts.types[tokens].astype(np.int64))[None]
        with torch.no_grad():
            states = plain(**given).last_hidden_state[0]
        np.testing.assert_allclose(vector, states.mean(0).numpy(), atol=1e-5)


def test_reading_means_leaves_the_model_as_it_was(tiny_bert, texts):
    before = score_texts(tiny_bert, texts, ALL, precision="fp32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "forward_tokens", lambda device: (0, 24))
        one = compute_features(tiny_bert, texts, ALL, pooling="mean", precision="fp32")
    whole = compute_features(tiny_bert, texts, ALL, pooling="mean", precision="fp32")
    np.testing.assert_allclose(one, whole, atol=1e-5)  # padding changes nothing
    assert not tiny_bert.model.bert._forward_hooks
    seen = []
    tiny_bert.model.bert.register_forward_hook(lambda _, given, out: seen.append(out[0].shape[1]))
    np.testing.assert_array_equal(score_texts(tiny_bert, texts, ALL, precision="fp32"), before)
    assert set(seen) == {1}  # position 0 alone again


def test_an_adapter_s_states_are_read(tiny_bert, texts):
    plain = compute_features(tiny_bert, texts, ALL, pooling="mean", precision="fp32")
    adapted = add_lora(tiny_bert, rank=2, alpha=4.0, target_modules="all-linear")
    same = compute_features(adapted, texts, ALL, pooling="mean", precision="fp32")
    np.testing.assert_allclose(same, plain, atol=1e-5)
    with torch.no_grad():
        for name, weight in adapted.model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.1)
    moved = compute_features(adapted, texts, ALL, pooling="mean", precision="fp32")
    assert np.abs(moved - plain).max() > 0.01


def test_states_that_are_not_one_a_token_are_refused(model_folder, monkeypatch):
    reward = load_reward_model(str(model_folder("llama")))
    forward = type(reward.model.base_model).forward

    def shorter(self, *given, **named):
        out = forward(self, *given, **named)
        out.last_hidden_state = out.last_hidden_state[:, :1]
        return out

    monkeypatch.setattr(type(reward.model.base_model), "forward", shorter)
    with pytest.raises(ValueError, match=r"one hidden state for each token.*pooling: head"):
        compute_features(reward, encode(reward), ALL, pooling="mean", precision="fp32")


@pytest.mark.parametrize("kind", ["bert", "deberta", "llama", "qwen2"])
def test_the_head_on_the_features_gives_the_rewards(kind, model_folder: Callable[[str], Path]):
    reward = load_reward_model(str(model_folder(kind)))
    texts = encode(reward)
    features = compute_features(reward, texts, ALL, precision="fp32", pooling="head")
    head = reward_head(reward)
    assert features.shape == (30, 16)
    assert features.dtype == np.float32
    bias = 0.0 if head.bias is None else head.bias.item()
    made = features @ head.weight[0].detach().numpy() + bias
    np.testing.assert_allclose(made, score_texts(reward, texts, ALL, precision="fp32"), atol=1e-5)


def test_features_of_bert_are_its_pooler_s(tiny_bert, texts):
    inputs = tiny_bert.tokenizer(PROMPTS[:5], RESPONSES[:5], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = tiny_bert.model.bert(**inputs).pooler_output.numpy()
    found = compute_features(tiny_bert, texts, np.arange(5), precision="fp32", pooling="head")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_model_without_one_linear_head_is_refused(tiny_bert):
    message = r"BertForSequenceClassification must have one linear layer .* but has {}\."
    tiny_bert.model.second = nn.Linear(16, 1)
    with pytest.raises(ValueError, match=message.format(2)):
        reward_head(tiny_bert)
    del tiny_bert.model.second
    tiny_bert.model.classifier = nn.Linear(16, 2)
    with pytest.raises(ValueError, match=message.format(0)):
        reward_head(tiny_bert)


def test_a_reward_that_is_not_the_head_s_is_refused(tiny_bert, texts):
    tiny_bert.model.classifier.register_forward_hook(lambda module, given, out: out + 1.0)
    with pytest.raises(ValueError, match=r"must be the head's linear map of one vector a text"):
        compute_features(tiny_bert, texts, ALL, precision="fp32", pooling="head")


def test_an_adapter_s_own_copy_of_the_head_is_read(tiny_bert, texts):
    adapted = add_lora(tiny_bert, rank=2, alpha=4.0, target_modules="all-linear")
    head = reward_head(adapted)
    with torch.no_grad():
        head.weight.add_(1.0)
    features = compute_features(adapted, texts, ALL, precision="fp32", pooling="head")
    made = features @ head.weight[0].detach().numpy() + head.bias.item()
    np.testing.assert_allclose(made, score_texts(adapted, texts, ALL, precision="fp32"), atol=1e-4)
