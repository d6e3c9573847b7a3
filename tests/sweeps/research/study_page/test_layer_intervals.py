"""Intervals of layers, by hand and against a bootstrap of the pairs that records do not hold."""

import numpy as np
import pytest

from scpo.statistics.accuracy import pair_accuracy
from sweeps.ledger.records import AccuracyRecord
from sweeps.research.study_page.layer_intervals import Layer, average_seeds, join_countries


def record(accuracy: float | None, low: float | None, high: float | None) -> AccuracyRecord:
    pairs = 0 if accuracy is None else 10
    return AccuracyRecord(accuracy=accuracy, low=low, high=high, pairs=pairs, users=2, ties=0)


def test_seeds_are_averaged_with_their_halves() -> None:
    layer = average_seeds([record(0.5, 0.4, 0.7), record(0.7, 0.4, 0.8)])
    assert layer.ends == pytest.approx((0.6, 0.6 - 0.2, 0.6 + 0.15))
    assert (layer.right, layer.pairs) == (pytest.approx(6.0), 10)
    assert average_seeds([record(0.5, 0.4, 0.7), record(0.7, None, None)]).ends == (
        pytest.approx(0.6),
        None,
        None,
    )
    assert average_seeds([record(None, None, None)] * 2).ends == (None, None, None)


def test_countries_join_as_independent_or_as_one() -> None:
    layers = [Layer(6.0, 10, 3.0, 2.0), Layer(20.0, 30, 4.0, 2.0), Layer(0.0, 0, None, None)]
    assert join_countries(layers, "user") == Layer(26.0, 40, 5.0, pytest.approx(8**0.5))
    assert join_countries(layers, "question") == Layer(26.0, 40, 7.0, 4.0)
    without = [*layers, Layer(1.0, 2, None, None)]
    assert join_countries(without, "user") == Layer(27.0, 42, None, None)
    assert Layer(9.0, 10, 1.0, 3.0).ends[2] == 1.0
    assert join_countries([], "user").ends == (None, None, None)


def judge(margin: np.ndarray, user: np.ndarray) -> AccuracyRecord:
    return AccuracyRecord.model_validate(pair_accuracy(margin, user).as_dict())


def test_joined_users_are_as_sure_as_a_bootstrap_of_all_of_them() -> None:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(60), 8)
    margins = rng.normal(0.4, 1.0, (3, 60)).repeat(8, axis=1) + rng.normal(size=(3, 480))
    joined = join_countries([average_seeds([judge(each, user)]) for each in margins], "user")
    users = np.concatenate([user + 100 * number for number in range(3)])
    expected = judge(margins.ravel(), users)
    value, low, high = joined.ends
    assert value == pytest.approx(expected.accuracy)
    assert high - low == pytest.approx(expected.high - expected.low, rel=0.1)


def test_joined_questions_are_never_surer_than_a_bootstrap_of_all_of_them() -> None:
    rng = np.random.default_rng(1)
    question = np.repeat(np.arange(60), 8)
    shared = rng.normal(0.4, 1.0, 60).repeat(8)
    for own in (0.0, 1.0, 5.0):  # how far countries differ
        margins = shared + own * rng.normal(size=(3, 60)).repeat(8, axis=1)
        joined = join_countries(
            [average_seeds([judge(each, question)]) for each in margins], "question"
        )
        expected = judge(margins.ravel(), np.tile(question, 3))
        _, low, high = joined.ends
        assert high - low >= 0.99 * (expected.high - expected.low)
