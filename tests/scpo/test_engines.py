import pytest
import torch
from transformers import get_linear_schedule_with_warmup

from scpo.engines import TorchEngine, linear_decay


@pytest.fixture
def batch():
    return {"input_ids": torch.tensor([[2, 9, 3, 17, 3]]), "attention_mask": torch.ones(1, 5)}


def test_the_schedule_is_the_linear_one_of_transformers():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1.0)
    known = get_linear_schedule_with_warmup(optimizer, 0, 10)
    decay = linear_decay(10)
    for step in range(13):
        assert decay(step) == pytest.approx(known.lr_lambdas[0](step))
    assert [decay(0), decay(5), decay(10), decay(11)] == [1.0, 0.5, 0.0, 0.0]


def test_the_first_step_has_the_whole_rate_and_the_last_is_not_empty(tiny_bert, batch):
    engine = TorchEngine(tiny_bert, learning_rate=1e-2, num_steps=2)
    bias = tiny_bert.model.classifier.bias
    moved = []
    for _ in range(3):
        before = bias.item()
        engine.backward(engine.rewards(batch).sum())  # its gradient in the bias is 1
        engine.step()
        moved.append(before - bias.item())
    # Adam moves by about the rate, whatever the size of the gradient
    assert moved == pytest.approx([1e-2, 5e-3, 0.0], abs=3e-4)


def test_gradients_are_clipped_and_cleared(tiny_bert, batch):
    engine = TorchEngine(tiny_bert, learning_rate=1e-3, num_steps=2, max_grad_norm=0.5)
    norms = []
    engine.optimizer.register_step_pre_hook(
        lambda optimizer, *rest: norms.append(
            torch.cat([p.grad.flatten() for g in optimizer.param_groups for p in g["params"]
                       if p.grad is not None]).norm().item()
        )
    )  # fmt: skip
    engine.backward(100 * engine.rewards(batch).sum())
    engine.step()
    assert norms == pytest.approx([0.5], rel=1e-4)
    assert all(parameter.grad is None for parameter in tiny_bert.model.parameters())


def test_backward_adds_up(tiny_bert, batch):
    engine = TorchEngine(tiny_bert, learning_rate=1e-3, num_steps=2)
    for _ in range(2):
        engine.backward(engine.rewards(batch).sum())
    assert tiny_bert.model.classifier.bias.grad.item() == pytest.approx(2.0)


def test_one_rank_sums_to_itself_and_gives_all_weights(tiny_bert):
    engine = TorchEngine(tiny_bert, learning_rate=1e-3, num_steps=2)
    assert (engine.rank, engine.world_size, engine.sum_over_ranks(1.5)) == (0, 1, 1.5)
    weights = engine.gather_weights()
    assert weights.keys() == tiny_bert.model.state_dict().keys()
    assert not any(tensor.requires_grad for tensor in weights.values())


def test_weight_decay_reaches_the_optimizer(tiny_bert):
    engine = TorchEngine(tiny_bert, learning_rate=1e-3, num_steps=2, weight_decay=0.1)
    assert {group["weight_decay"] for group in engine.optimizer.param_groups} == {0.1}


def test_rewards_are_float32_in_bf16(tiny_bert, batch):
    engine = TorchEngine(tiny_bert, learning_rate=1e-3, num_steps=2, precision="bf16")
    rewards = engine.rewards(batch)
    assert rewards.dtype == torch.float32
    assert rewards.requires_grad
    assert rewards.shape == (1,)
