import numpy as np
import pytest
import torch

from scpo.models.classifier import compute_rewards
from scpo.models.loading import load_reward_model
from scpo.tokens.batches import TrainingSet
from scpo.tokens.encoding import encode_texts, pad_texts
from scpo.training import forward_passes
from scpo.training.forward_passes import (
    BatchInputs,
    forward_inputs,
    model_inputs,
    pick_rewards,
    plan_forwards,
    shared_tokens,
)

CPU = torch.device("cpu")


@pytest.fixture
def shared(chat_tokenizer):
    """Three interactions: a long prompt with short answers, the reverse, and one response each."""
    prompts = ["a b c d e f g h a b c d"] * 3 + ["a"] * 2 + ["b c"] * 2
    responses = ["good", "bad", "fine a", "a b c d e f g h", "e f g h a b c d", "warm", "cold"]
    texts = encode_texts(chat_tokenizer, prompts, responses, max_tokens=64)
    chosen, rejected = np.array([0, 0, 1, 3, 5]), np.array([1, 2, 2, 4, 6])
    return TrainingSet(texts, chosen, rejected, np.array([0, 0, 0, 1, 2]), np.ones(5))


def reference(reward, data):
    batch = pad_texts(
        data.texts, np.arange(len(data.texts)), pad_id=0, with_types=False, device=CPU
    )
    return compute_rewards(reward.model, batch)


def test_shared_tokens_end_before_the_last_token_of_any(shared, pair_tokenizer):
    texts = shared.texts
    # <bos> user : [12 words] <eos> assistant : , then the responses differ
    assert shared_tokens(texts, np.array([0, 1, 2])) == 3 + 12 + 1 + 2
    assert shared_tokens(texts, np.array([0, 0])) == texts.lengths[0] - 1
    other = encode_texts(pair_tokenizer, ["a", "b"], ["c", "c"], max_tokens=8)
    assert shared_tokens(other, np.array([0, 1])) == 1  # [CLS]


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("saving", [0.0, 0.9, 10.0])
def test_packed_rows_give_the_rewards_and_gradients_of_texts_apart(
    model_folder, shared, monkeypatch, kind, saving
):
    monkeypatch.setattr(forward_passes, "SAVING", saving)
    reward = load_reward_model(str(model_folder(kind)))
    inputs = model_inputs(reward)
    plan = plan_forwards(shared, np.arange(5), inputs, max_tokens=4096)
    assert any(forward.rows for forward in plan) is (saving > 0)
    rewards = torch.zeros(7)
    slope = torch.linspace(-1.0, 2.0, 7)
    for forward in plan:
        given = compute_rewards(reward.model, forward_inputs(shared.texts, forward, inputs, CPU))
        rewards[torch.from_numpy(forward.texts)] = pick_rewards(given, forward)
    (rewards * slope).sum().backward()
    packed = {name: weight.grad.clone() for name, weight in reward.model.named_parameters()}
    reward.model.zero_grad()
    expected = reference(reward, shared)
    (expected * slope).sum().backward()
    torch.testing.assert_close(rewards, expected, atol=1e-5, rtol=1e-5)
    for name, weight in reward.model.named_parameters():
        torch.testing.assert_close(packed[name], weight.grad, atol=1e-5, rtol=1e-4)


def test_every_text_comes_out_once_and_tokens_are_counted(shared):
    plan = plan_forwards(shared, np.arange(5), BatchInputs(0, False, 0.0), max_tokens=4096)
    assert sorted(np.concatenate([forward.texts for forward in plan]).tolist()) == list(range(7))
    lengths = shared.texts.lengths
    shared = {tuple(texts): count for forward in plan for texts, count in forward.rows}
    assert shared[0, 1, 2] == 18
    saved = sum((len(texts) - 1) * count for texts, count in shared.items())
    assert sum(forward.real_tokens for forward in plan) == lengths.sum() - saved
    assert all(forward.real_tokens <= forward.padded_tokens for forward in plan)


@pytest.mark.parametrize(
    ("attention_cost", "shares"), [(None, False), (0.0, True), (0.001, True), (10.0, False)]
)
def test_a_prompt_is_shared_where_it_pays(chat_tokenizer, attention_cost, shares):
    """Long answers to a short prompt: fewer tokens, but each sees a longer row."""
    prompts = ["a b"] * 2
    responses = [" ".join("abcdefgh" * 2), " ".join("hgfedcba" * 2)]
    texts = encode_texts(chat_tokenizer, prompts, responses, max_tokens=64)
    data = TrainingSet(texts, np.array([0]), np.array([1]), np.array([0]), np.ones(1))
    inputs = BatchInputs(0, False, attention_cost)
    plan = plan_forwards(data, np.array([0]), inputs, max_tokens=4096)
    assert bool(plan[0].rows) is shares


def test_the_cost_is_that_of_the_layers(model_folder):
    cost = model_inputs(load_reward_model(str(model_folder("llama")))).attention_cost
    # two layers: q and o 16x16, k and v 16x8, three of 16x32, two norms; one norm at the end
    weights = 2 * (2 * 256 + 2 * 128 + 3 * 512 + 2 * 16) + 16
    assert cost == pytest.approx(2 * 16 * 2 / weights)


def test_encoders_share_nothing(model_folder):
    assert model_inputs(load_reward_model(str(model_folder("bert")))).attention_cost is None


def test_rows_keep_the_token_budget(chat_tokenizer):
    prompts = [f"{word} b c d e f g h" for word in "aaaaabbbbb"]
    texts = encode_texts(chat_tokenizer, prompts, list("abcdeabcde"), max_tokens=64)
    chosen = np.array([0, 1, 2, 3, 5, 6, 7, 8])
    data = TrainingSet(texts, chosen, chosen + 1, np.repeat([0, 1], 4), np.ones(8))
    inputs = BatchInputs(0, False, 0.0)
    for max_tokens, count in ((4096, 1), (30, 2)):
        plan = plan_forwards(data, np.arange(8), inputs, max_tokens=max_tokens)
        assert len(plan) == count
        assert {len(forward.rows) for forward in plan} == {2 // count}


def test_no_pairs_give_a_pass_over_one_text(shared):
    (forward,) = plan_forwards(
        shared, np.zeros(0, dtype=np.int64), BatchInputs(0, False, 0.0), max_tokens=64
    )
    assert forward.texts.tolist() == [0]
