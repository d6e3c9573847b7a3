import pickle

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification

from scpo.models.classifier import (
    adapt_classes,
    compute_rewards,
    enable_activation_checkpointing,
    head_digest,
)
from scpo.models.loading import load_reward_model

PROMPTS = [" ".join("abcdefgh"[: 1 + number % 8]) for number in range(20)]
RESPONSES = [("good ", "bad ")[number % 2] * (1 + number % 5) for number in range(20)]


class OtherBert(BertForSequenceClassification):
    """Might read every token."""


@pytest.fixture
def inputs(pair_tokenizer):
    return pair_tokenizer(PROMPTS, RESPONSES, padding=True, return_tensors="pt")


@pytest.mark.parametrize("kind", ["bert", "deberta"])
def test_the_last_layer_computes_the_first_token_to_the_same_rewards_and_gradients(
    model_folder, inputs, kind
):
    plain = AutoModelForSequenceClassification.from_pretrained(model_folder(kind)).eval()
    reward = load_reward_model(str(model_folder(kind)))
    seen = []
    for model in (plain, reward.model):
        model.base_model.encoder.layer[-1].intermediate.register_forward_pre_hook(
            lambda module, given: seen.append(tuple(given[0].shape))
        )
    inputs = {name: inputs[name] for name in reward.tokenizer.model_input_names}
    whole = plain(**inputs).logits.squeeze(-1)
    cut = compute_rewards(reward.model, inputs)
    assert seen == [(20, inputs["input_ids"].shape[1], 16), (20, 1, 16)]
    torch.testing.assert_close(cut, whole, atol=1e-6, rtol=1e-6)
    slope = torch.linspace(-1.0, 2.0, 20)
    (whole * slope).sum().backward()
    (cut * slope).sum().backward()
    theirs = dict(plain.named_parameters())
    for name, weight in reward.model.named_parameters():
        torch.testing.assert_close(weight.grad, theirs[name].grad, atol=1e-5, rtol=1e-4)


def test_models_that_may_read_other_tokens_run_whole(model_folder, inputs):
    other = OtherBert.from_pretrained(model_folder("bert"))
    tokenizer = load_reward_model(str(model_folder("bert"))).tokenizer
    adapt_classes(other, tokenizer.pad_token_id)
    shallow = BertForSequenceClassification.from_pretrained(
        model_folder("bert"), num_hidden_layers=1
    )
    adapt_classes(shallow, tokenizer.pad_token_id)
    for model in (other, shallow):
        states = model.bert(**inputs).last_hidden_state
        assert states.shape[1] == inputs["input_ids"].shape[1]


def test_a_module_with_a_forward_pass_of_its_own_is_refused(tiny_bert):
    layer = tiny_bert.model.bert.encoder.layer[0]
    layer.forward = layer.forward  # as accelerate's hooks set it
    with pytest.raises(RuntimeError, match=r"BertLayer must take its forward pass from its class"):
        enable_activation_checkpointing(tiny_bert.model)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_pickle_takes_a_model_to_another_process(model_folder, kind):
    reward = load_reward_model(str(model_folder(kind)))
    again = pickle.loads(pickle.dumps(reward))
    assert head_digest(again.model) == head_digest(reward.model)
    batch = {"input_ids": torch.tensor([[4, 12, 13]]), "attention_mask": torch.ones(1, 3).long()}
    assert torch.equal(compute_rewards(again.model, batch), compute_rewards(reward.model, batch))
    assert type(again.model) is type(reward.model)
