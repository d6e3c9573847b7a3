"""Batched heads against a loop over single ones in float64, scipy's optimum, and by hand."""

import math

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize
from scipy.special import expit, log_expit

from scpo.heads import linear_heads as heads_module
from scpo.heads.linear_heads import ProbedPairs, judge_heads, train_heads
from scpo.method.arms import select_setting
from sweeps.probe.head_settings import draw_settings

BOX = {"retention": (0.2, 1.0), "strength": (0.0, 3.0), "l2": (1e-4, 10.0), "steps": (2, 24)}


def make_pairs(num_pairs: int, num_features: int, seed: int = 0):
    """Differences sorted by the margin of a global head, and that head."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_pairs, num_features)) * np.logspace(0, -1, num_features)
    head = rng.normal(size=num_features)
    taste = x @ (head + rng.normal(size=num_features))
    x *= np.sign(taste + rng.logistic(size=num_pairs))[:, None]
    x = x[np.argsort(x @ head)]
    return x, head


def make_problem(num_pairs: int = 60, num_features: int = 12, num_settings: int = 40):
    x, head = make_pairs(num_pairs, num_features)
    settings = draw_settings(num_settings, **BOX, seed=1)
    chosen = [
        select_setting(x @ head, retention=q, strength=s)
        for q, s in zip(settings.retention, settings.strength, strict=True)
    ]
    weights = np.stack([selection.weights for selection in chosen])
    kept = np.array([selection.keep.sum() for selection in chosen])
    return x, head, settings, weights, kept


def pairs_of(x, margin):
    return ProbedPairs(x, margin, margin, np.arange(len(margin)))


def objective(w, x, head, weights, kept, l2):
    """J(w) of the module's docstring."""
    pull = l2 * np.square(x).sum() / (4 * len(x))
    data = -np.sum(weights * log_expit(x @ w)) / kept
    return data + 0.5 * pull * np.sum((w - head) ** 2)


def train_one(x, head, weights, kept, l2, steps):
    """One head, pair by pair in the space of the features: a second, naive implementation."""
    pull = l2 * np.square(x).sum() / (4 * len(x))
    last = int(np.flatnonzero(weights).max()) + 1
    rows = math.ceil(len(x) * math.ceil(last * 4 / len(x)) / 4)
    bound = x[:rows].T @ x[:rows] / (4 * kept) + pull * np.eye(x.shape[1])
    w, ahead, age = head.copy(), head.copy(), 0
    for _ in range(steps):
        gradient = pull * (ahead - head)
        for pair, weight in zip(x, weights, strict=True):
            gradient -= weight / kept * expit(-pair @ ahead) * pair
        reached = ahead - np.linalg.solve(bound, gradient)
        age = 0 if gradient @ (reached - w) > 0 else age + 1
        ahead = reached + age / (age + 3) * (reached - w)
        w = reached
    return w


def test_each_of_the_batch_equals_a_single_head_in_float64() -> None:
    x, head, settings, weights, kept = make_problem()
    moved = train_heads(x, x @ head, weights, kept, l2=settings.l2, steps=settings.steps)
    for number in range(len(settings)):
        alone = train_one(
            x,
            head,
            weights[number],
            kept[number],
            settings.l2[number],
            settings.steps[number],
        )
        np.testing.assert_allclose(head + moved[number], alone, atol=1e-6, rtol=0)


def test_more_features_than_pairs_and_float32() -> None:
    x, head, settings, weights, kept = make_problem(num_pairs=20, num_features=50)
    numbers = {"l2": settings.l2, "steps": settings.steps}
    exact = train_heads(x, x @ head, weights, kept, **numbers)
    alone = train_one(x, head, weights[3], kept[3], settings.l2[3], settings.steps[3])
    np.testing.assert_allclose(head + exact[3], alone, atol=1e-6, rtol=0)
    single = train_heads(x.astype(np.float32), x @ head, weights, kept, **numbers)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, exact, atol=2e-5)


def test_all_pairs_of_weight_1_are_plain_logistic_regression() -> None:
    x, _ = make_pairs(80, 6)
    start = np.zeros(6)
    l2 = np.array([0.01, 0.3])
    moved = train_heads(
        x, x @ start, np.ones((2, 80)), np.full(2, 80), l2=l2, steps=np.full(2, 300)
    )
    for number in range(2):
        best = minimize(
            objective, start, (x, start, np.ones(80), 80, l2[number]), "BFGS", tol=1e-9
        )
        np.testing.assert_allclose(moved[number], best.x, atol=1e-6)


def test_gradient_vanishes_where_a_head_ends_and_is_what_the_first_step_follows() -> None:
    x, head, _, weights, kept = make_problem()
    one, many = np.array([1]), np.array([400])
    given = (x, head, weights[5], kept[5], 0.2)
    [end] = train_heads(x, x @ head, weights[5:6], kept[5:6], l2=np.array([0.2]), steps=many)
    np.testing.assert_allclose(approx_fprime(head + end, objective, 1e-7, *given), 0, atol=1e-6)
    [first] = train_heads(x, x @ head, weights[5:6], kept[5:6], l2=np.array([0.2]), steps=one)
    slope = approx_fprime(head, objective, 1e-7, *given)
    assert slope @ first < 0
    assert objective(head + first, *given) < objective(head, *given)


def test_a_head_does_not_depend_on_those_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    x, head, settings, weights, kept = make_problem()
    together = train_heads(x, x @ head, weights, kept, l2=settings.l2, steps=settings.steps)
    monkeypatch.setattr(heads_module, "HEADS_AT_ONCE", 3)
    order = np.random.default_rng(0).permutation(len(settings))
    shuffled = train_heads(
        x,
        x @ head,
        weights[order],
        kept[order],
        l2=settings.l2[order],
        steps=settings.steps[order],
    )
    np.testing.assert_allclose(shuffled, together[order], atol=1e-10)


def test_pairs_of_dependent_differences_keep_the_heads_in_their_span() -> None:
    x, head = make_pairs(8, 30)
    doubled = np.concatenate([x, x])
    moved = train_heads(
        doubled,
        doubled @ head,
        np.ones((1, 16)),
        np.array([16]),
        l2=np.array([0.1]),
        steps=np.array([50]),
    )
    inside = moved[0] @ np.linalg.pinv(x) @ x
    np.testing.assert_allclose(inside, moved[0], atol=1e-9)


def test_a_strong_pull_leaves_the_global_head() -> None:
    x, head, _, weights, kept = make_problem(num_settings=2)
    moved = train_heads(
        x, x @ head, weights, kept, l2=np.array([1e6, 1e6]), steps=np.array([5, 5])
    )
    assert np.abs(moved).max() < 1e-5


def test_weights_that_all_vanish_move_nothing() -> None:
    x, head = make_pairs(10, 3)
    moved = train_heads(
        x, x @ head, np.zeros((1, 10)), np.array([4]), l2=np.array([0.1]), steps=np.array([5])
    )
    np.testing.assert_array_equal(moved, 0)


def test_judged_by_hand() -> None:
    x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, -1.0]])
    reference = np.array([1.0, -1.0, 0.0, 1.0])  # offsets of the head (1, -1)
    moved = np.array([[0.0, 0.0], [0.0, 2.0]])  # margins 1, -1, 0, 1 and 1, 1, 2, -1
    judged = judge_heads(moved, pairs_of(x, reference))
    np.testing.assert_allclose(judged.accuracy, [0.5, 0.75])
    np.testing.assert_allclose(judged.distinctive, [0.0, 1.0])
    np.testing.assert_allclose(judged.consensus_drop, [1 / 3, 1 / 3])
    loss = [math.log1p(math.exp(-m)) for m in (1, -1, 0, 1)]
    assert judged.loss[0] == pytest.approx(sum(loss) / 4)


def test_layers_without_pairs() -> None:
    x = np.eye(2)
    heads = np.zeros((1, 2))
    agreed = judge_heads(heads, pairs_of(x, np.ones(2)))
    assert math.isnan(agreed.distinctive[0])
    assert agreed.consensus_drop[0] == 0.0
    opposed = judge_heads(heads, pairs_of(x, -np.ones(2)))
    assert (opposed.distinctive[0], opposed.consensus_drop[0]) == (0.0, 0.0)


def test_heads_that_cannot_be_judged() -> None:
    with pytest.raises(ValueError, match="At least one held-out pair must be given"):
        judge_heads(np.zeros((1, 2)), pairs_of(np.zeros((0, 2)), np.zeros(0)))
    with pytest.raises(ValueError, match=r"Margins of heads must be finite.*Raise l2"):
        judge_heads(np.full((1, 2), np.nan), pairs_of(np.eye(2), np.zeros(2)))


def test_settings_fill_the_box_and_hold_its_faces() -> None:
    settings = draw_settings(1000, **BOX, seed=0)
    assert len(settings) == 1000
    for name, (low, high) in BOX.items():
        values = getattr(settings, name)
        assert low <= values.min() < low + 0.1 * (high - low)
        assert values.max() <= high
    assert np.mean(settings.retention == 1.0) == pytest.approx(1 / 8, abs=0.01)
    assert np.mean(settings.strength == 0.0) == pytest.approx(1 / 8, abs=0.01)
    full = (settings.retention == 1.0) & (settings.strength == 0.0)
    assert 8 <= full.sum() <= 24
    assert np.median(settings.l2) == pytest.approx(math.sqrt(1e-4 * 10.0), rel=0.1)
    again, other = draw_settings(1000, **BOX, seed=0), draw_settings(1000, **BOX, seed=1)
    np.testing.assert_array_equal(settings.l2, again.l2)
    assert not np.array_equal(settings.l2, other.l2)


def test_ranges_of_one_value() -> None:
    fixed = {"retention": (0.5, 0.5), "strength": (1.0, 1.0), "l2": (0.1, 0.1), "steps": (3, 3)}
    settings = draw_settings(3, **fixed, seed=0)
    np.testing.assert_allclose(settings.retention, 0.5)
    np.testing.assert_array_equal(settings.steps, 3)
    assert settings.take(np.array([2])).strength.tolist() == [1.0]


def test_boxes_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="`num_settings >= 1` must hold, but got 0"):
        draw_settings(0, **BOX, seed=0)
    with pytest.raises(ValueError, match="`0 < low <= high` must hold for l2, but got 0"):
        draw_settings(4, **{**BOX, "l2": (0.0, 1.0)}, seed=0)
    with pytest.raises(ValueError, match="must hold for steps, but got 9, 3"):
        draw_settings(4, **{**BOX, "steps": (9, 3)}, seed=0)


def test_features_that_do_not_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="chosen and rejected texts must differ"):
        train_heads(
            np.zeros((4, 2)),
            np.zeros(4),
            np.ones((1, 4)),
            np.array([4]),
            l2=np.ones(1),
            steps=np.array([1]),
        )
