import pytest
import torch

from scpo.models.classifier import compute_rewards
from scpo.models.loading import load_reward_model
from scpo.training.engines import Optimization, TorchEngine


@pytest.fixture
def batch():
    return {"input_ids": torch.tensor([[2, 9, 3, 17, 3]]), "attention_mask": torch.ones(1, 5)}


def make_engine(reward, **named):
    return TorchEngine(reward, Optimization(**({"learning_rate": 1e-3, "num_steps": 2} | named)))


def test_the_first_step_has_the_whole_rate_and_the_last_is_not_empty(tiny_bert, batch):
    engine = make_engine(tiny_bert, learning_rate=1e-2, num_steps=2)
    bias = tiny_bert.model.classifier.bias
    moved = []
    for _ in range(3):
        before = bias.item()
        engine.backward(engine.rewards(batch).sum())  # its gradient in the bias is 1
        engine.step(last=True)
        moved.append(before - bias.item())
    # Adam moves by about the rate, whatever the size of the gradient
    assert moved == pytest.approx([1e-2, 5e-3, 0.0], abs=3e-4)


def test_gradients_are_clipped_and_cleared(tiny_bert, batch):
    engine = make_engine(tiny_bert, learning_rate=1e-3, num_steps=2, max_grad_norm=0.5)
    norms = []
    engine.optimizer.register_step_pre_hook(
        lambda optimizer, *rest: norms.append(
            torch.cat([p.grad.flatten() for g in optimizer.param_groups for p in g["params"]
                       if p.grad is not None]).norm().item()
        )
    )  # fmt: skip
    engine.backward(100 * engine.rewards(batch).sum())
    engine.step(last=True)
    assert norms == pytest.approx([0.5], rel=1e-4)
    assert all(parameter.grad is None for parameter in tiny_bert.model.parameters())


def test_backward_adds_up(tiny_bert, batch):
    engine = make_engine(tiny_bert, learning_rate=1e-3, num_steps=2)
    for _ in range(2):
        engine.backward(engine.rewards(batch).sum())
    assert tiny_bert.model.classifier.bias.grad.item() == pytest.approx(2.0)


def test_one_rank_sums_to_itself_and_gives_all_weights(tiny_bert):
    engine = make_engine(tiny_bert, learning_rate=1e-3, num_steps=2)
    assert (engine.rank, engine.world_size, engine.sum_over_ranks(1.5)) == (0, 1, 1.5)
    weights = dict(engine.weights())
    assert weights.keys() == tiny_bert.model.state_dict().keys()
    assert not any(tensor.requires_grad for tensor in weights.values())


def test_weight_decay_reaches_the_optimizer(tiny_bert):
    engine = make_engine(tiny_bert, learning_rate=1e-3, num_steps=2, weight_decay=0.1)
    assert {group["weight_decay"] for group in engine.optimizer.param_groups} == {0.1}


def test_rewards_are_float32_in_bf16(tiny_bert, batch):
    engine = make_engine(tiny_bert, learning_rate=1e-3, num_steps=2, precision="bf16")
    rewards = engine.rewards(batch)
    assert rewards.dtype == torch.float32
    assert rewards.requires_grad
    assert rewards.shape == (1,)


def test_bf16_is_that_of_the_matrix_products(tiny_bert, batch):
    exact, rounded = (
        make_engine(tiny_bert, precision=precision).rewards(batch).item()
        for precision in ("fp32", "bf16")
    )
    assert 1e-5 < abs(rounded - exact) < 0.1  # of 8 bits, not of 24


def test_schedule_and_warm_up_reach_the_optimizer(tiny_bert, batch):
    engine = make_engine(
        tiny_bert, learning_rate=1.0, num_steps=6, schedule="cosine", warmup_share=1 / 3
    )
    rates = []
    engine.optimizer.register_step_pre_hook(
        lambda optimizer, *rest: rates.append(optimizer.param_groups[0]["lr"])
    )
    for _ in range(6):
        engine.backward(engine.rewards(batch).sum())
        engine.step(last=True)
    # two steps up, then half a cosine over four: (1 + cos(pi n / 4)) / 2
    assert rates == pytest.approx([0.0, 0.5, 1.0, 0.853553, 0.5, 0.146447], abs=1e-6)


def test_nothing_moves_before_the_last_backward_pass(tiny_bert, batch):
    engine = make_engine(tiny_bert, accumulation=2)
    before = tiny_bert.model.classifier.bias.item()
    engine.backward(engine.rewards(batch).sum())
    assert engine.step(last=False) is None
    assert tiny_bert.model.classifier.bias.item() == before
    engine.backward(engine.rewards(batch).sum())
    assert engine.step(last=True) > 2.0  # the bias alone has a gradient of 2
    assert tiny_bert.model.classifier.bias.item() != before


def test_gradients_that_are_not_finite_leave_the_weights(tiny_bert, batch):
    engine = make_engine(tiny_bert)
    before = dict(engine.weights())
    before = {name: tensor.clone() for name, tensor in before.items()}
    engine.backward(engine.rewards(batch).sum() * float("inf"))
    assert not engine.step(last=True) < float("inf")
    for name, tensor in dict(engine.weights()).items():
        assert torch.equal(tensor, before[name])
    assert all(parameter.grad is None for parameter in tiny_bert.model.parameters())


def test_frozen_weights_are_not_optimized(tiny_bert):
    for parameter in tiny_bert.model.bert.parameters():
        parameter.requires_grad = False
    optimizer = make_engine(tiny_bert).optimizer
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2  # the head's


def test_a_state_that_is_read_back_goes_on_to_the_bit(model_folder, batch, tmp_path):
    def step(engine):
        engine.backward(engine.rewards(batch).square().sum())
        engine.step(last=True)

    whole = make_engine(load_reward_model(str(model_folder("bert"))), num_steps=5)
    for _ in range(2):
        step(whole)
    whole.save_state(tmp_path)
    other = make_engine(load_reward_model(str(model_folder("bert"))), num_steps=5)
    other.load_state(tmp_path)
    for engine in (whole, other):
        step(engine)
        step(engine)
    assert whole.scheduler.get_last_lr() == other.scheduler.get_last_lr()
    for name, tensor in dict(whole.weights()).items():
        assert torch.equal(tensor, dict(other.weights())[name])


def factors(kind, num_steps, warmup_share=0.0):
    """The share of the peak learning rate in each step, and after the last."""
    setting = Optimization(1.0, num_steps, schedule=kind, warmup_share=warmup_share)
    _, schedule = setting.make_optimizer(torch.nn.Linear(1, 1), fused=False)
    return [schedule.lr_lambdas[0](step) for step in range(num_steps + 1)]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("linear", [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]),
        ("cosine", [0.0, 0.5, 1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0.0]),
        ("constant", [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_schedules_by_hand(kind, expected):
    # two steps of warm-up and four of decay; cos(pi / 4) is the root of a half
    found = factors(kind, 6, warmup_share=1 / 3)
    assert found == pytest.approx(expected, abs=1e-15)
    assert found[6] == expected[6]  # the end is exact
    assert factors(kind, 10)[0] == 1.0


def test_warmup_is_rounded_to_whole_steps():
    assert factors("constant", 10, warmup_share=0.14)[:3] == [0.0, 1.0, 1.0]
    assert factors("constant", 10, warmup_share=0.16)[:3] == [0.0, 0.5, 1.0]
    assert factors("constant", 10, warmup_share=0.04)[0] == 1.0


def test_one_step_at_least_is_left_after_the_warmup():
    assert factors("linear", 1, warmup_share=0.9) == [1.0, 0.0]
    assert factors("linear", 3, warmup_share=0.99) == [0.0, 0.5, 1.0, 0.0]


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup_share", [0.0, 0.1, 0.5, 0.95])
def test_the_learning_rate_rises_once_and_then_never(kind, warmup_share):
    found = factors(kind, 20, warmup_share=warmup_share)
    peak = found.index(1.0)
    assert peak == round(20 * warmup_share)
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)
    assert 0.0 <= min(found) <= max(found) == 1.0


def test_words_get_the_gradients_that_pytorch_gives(tiny_bert):
    """Over several passes and steps, with a word that stands twice in a text."""
    engine = make_engine(tiny_bert, num_steps=3, max_grad_norm=1e9)
    words = tiny_bert.model.get_input_embeddings()
    passes = [{"input_ids": torch.tensor([ids])} for ids in ([2, 9, 9, 3], [2, 5, 3, 0, 0])]
    seen = []
    engine.optimizer.register_step_pre_hook(lambda *rest: seen.append(words.weight.grad.clone()))
    for _ in range(3):
        loss = sum(compute_rewards(tiny_bert.model, batch).sum() for batch in passes)
        [expected] = torch.autograd.grad(loss, [words.weight])
        engine.backward(sum(engine.rewards(batch).sum() for batch in passes))
        assert not words.sparse  # a user's own optimizer may know no sparse gradients
        engine.step(last=True)
        torch.testing.assert_close(seen[-1], expected)
