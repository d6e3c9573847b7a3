import math

import numpy as np
import pytest
import torch

from scpo.training.loss import centring_losses, pair_losses, weighted_bradley_terry


def naive_loss(margin, weights):
    """The formula as printed: mean over pairs of -W log sigmoid(m)."""
    terms = [
        -w * math.log(1 / (1 + math.exp(-m)))
        for m, w in zip(margin.tolist(), weights.tolist(), strict=True)
    ]
    return sum(terms) / len(terms)


def naive_gradient(margin, weights):
    """d/dm of it: -W sigmoid(-m) / B."""
    return [
        -w / (1 + math.exp(m)) / len(margin)
        for m, w in zip(margin.tolist(), weights.tolist(), strict=True)
    ]


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    margin = torch.from_numpy(rng.normal(0, 4, 33))
    weights = torch.from_numpy(rng.uniform(0, 1, 33))
    margin[:3], weights[0] = torch.tensor([0.0, 25.0, -25.0]), 0.0
    return margin, weights


def test_loss_and_gradient_are_the_naive_ones(drawn):
    margin, weights = drawn
    margin.requires_grad_()
    loss = weighted_bradley_terry(margin, weights)
    loss.backward()
    assert loss.item() == pytest.approx(naive_loss(margin.detach(), weights), rel=1e-6)
    np.testing.assert_allclose(
        margin.grad, naive_gradient(margin.detach(), weights), rtol=1e-6, atol=1e-12
    )


def test_gradient_agrees_with_finite_differences(drawn):
    margin, weights = (tensor.clone() for tensor in drawn)
    margin = margin.clamp(-8, 8).requires_grad_()
    assert torch.autograd.gradcheck(weighted_bradley_terry, (margin, weights))
    assert torch.autograd.gradcheck(
        lambda a, b: centring_losses(a, b).mean(),
        (margin, margin.detach().flip(0).requires_grad_()),
    )


def test_float32_agrees_with_float64(drawn):
    margin, weights = drawn
    loss = weighted_bradley_terry(margin.float(), weights)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(naive_loss(margin, weights), rel=1e-5)


def test_the_mean_divides_by_pairs_and_not_by_weights():
    loss = weighted_bradley_terry(torch.zeros(2), torch.tensor([0.5, 0.1]))
    assert loss.item() == pytest.approx(0.6 * math.log(2) / 2)  # not log(2)
    doubled = weighted_bradley_terry(torch.zeros(2), torch.tensor([1.0, 0.2]))
    assert doubled.item() == pytest.approx(2 * loss.item())


def test_a_tie_costs_log_two_and_weight_zero_costs_nothing():
    assert pair_losses(torch.zeros(1), torch.ones(1)).item() == pytest.approx(math.log(2))
    assert pair_losses(torch.tensor([-1e4]), torch.zeros(1)).item() == 0.0


def test_huge_margins_do_not_overflow():
    margin = torch.tensor([1e4, -1e4], requires_grad=True)
    losses = pair_losses(margin, torch.ones(2))
    losses.sum().backward()
    assert losses.tolist() == [0.0, 1e4]
    assert margin.grad.tolist() == [0.0, -1.0]


def test_target_by_hand():
    margin, weights = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1.0, 0.5, 1.0])
    target = torch.tensor([1.0, 1.0, -math.log(3)])
    # m - t = 0, 0, log 3: softplus = log 2, log 2, log(1 + 1/3)
    expected = [math.log(2), 0.5 * math.log(2), math.log(4 / 3)]
    assert pair_losses(margin, weights, target).tolist() == pytest.approx(expected)
    mean = weighted_bradley_terry(margin, weights, target)
    assert mean.item() == pytest.approx(sum(expected) / 3)


def test_loss_and_gradient_with_a_target_are_the_naive_ones(drawn):
    margin, weights = drawn
    target = torch.from_numpy(np.random.default_rng(1).normal(0, 2, 33))
    margin.requires_grad_()
    loss = weighted_bradley_terry(margin, weights, target)
    loss.backward()
    excess = margin.detach() - target
    assert loss.item() == pytest.approx(naive_loss(excess, weights), rel=1e-6)
    np.testing.assert_allclose(margin.grad, naive_gradient(excess, weights), rtol=1e-6, atol=1e-12)
    in_float32 = weighted_bradley_terry(margin.detach().float(), weights, target)
    assert in_float32.dtype == torch.float32
    assert in_float32.item() == pytest.approx(loss.item(), rel=1e-5)


def test_target_zero_is_no_target(drawn):
    margin, weights = drawn
    assert torch.equal(
        pair_losses(margin, weights, torch.zeros_like(margin)), pair_losses(margin, weights)
    )


def test_huge_targets_do_not_overflow():
    margin = torch.zeros(2, requires_grad=True)
    losses = pair_losses(margin, torch.ones(2), torch.tensor([1e4, -1e4]))
    losses.sum().backward()
    assert losses.tolist() == [1e4, 0.0]
    assert margin.grad.tolist() == [-1.0, 0.0]


@pytest.mark.parametrize("shape", [(2,), (3, 1), (1,), ()])
def test_a_target_must_have_the_shape_of_the_margin(shape):
    for loss in (pair_losses, weighted_bradley_terry):
        with pytest.raises(ValueError, match=r"margin and target must have one shape \(B,\)"):
            loss(torch.ones(3), torch.ones(3), torch.ones(shape))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened(dtype):
    losses = pair_losses(torch.tensor([-20000.0], dtype=dtype), torch.ones(1, dtype=dtype))
    assert losses.dtype == torch.float32
    assert losses.item() == pytest.approx(20000, rel=0.01)
    assert centring_losses(torch.tensor([300.0], dtype=dtype), torch.ones(1)).isfinite().all()


def test_nan_goes_through_for_the_loop_to_see():
    assert weighted_bradley_terry(torch.tensor([math.nan]), torch.ones(1)).isnan()


@pytest.mark.parametrize("shapes", [((3, 1), (3,)), ((3,), (3, 1)), ((3,), (2,)), ((), ())])
def test_shapes_must_agree(shapes):
    first, second = (torch.ones(shape) for shape in shapes)
    with pytest.raises(ValueError, match=r"margin and weights must have one shape \(B,\)"):
        weighted_bradley_terry(first, second)
    with pytest.raises(ValueError, match=r"chosen and rejected must have one shape \(B,\)"):
        centring_losses(first, second)


def test_a_column_against_a_column_is_refused_too():
    with pytest.raises(ValueError, match="one shape"):
        pair_losses(torch.ones(3, 1), torch.ones(3, 1))


def test_no_pair_is_refused():
    with pytest.raises(ValueError, match="At least one pair"):
        weighted_bradley_terry(torch.ones(0), torch.ones(0))


def test_centring_by_hand():
    losses = centring_losses(torch.tensor([1.0, 2.0]), torch.tensor([3.0, -2.0]))
    assert losses.tolist() == [16.0, 0.0]
