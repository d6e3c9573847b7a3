"""Intervals of layers from older records, by hand and against a bootstrap of all pairs."""

import numpy as np
import pytest

from scpo.statistics.accuracy import pair_accuracy
from scpo.statistics.bootstrap import Interval
from sweeps.ledger.pooled import Cell
from sweeps.ledger.records import AccuracyRecord
from sweeps.research.study_page.layer_intervals import widen_layer
from tests.sweeps.research.study_page.records import make_record


def layer(accuracy: float | None, low: float | None, high: float | None, pairs: int = 10):
    pairs = 0 if accuracy is None else pairs
    return AccuracyRecord(accuracy=accuracy, low=low, high=high, pairs=pairs, users=2, ties=0)


def cell(*layers: AccuracyRecord) -> Cell:
    """A country judged once a seed, with these figures on distinctive pairs."""
    record = make_record("Mexico", "full", [5, 5])
    records = [
        record.model_copy(
            update={"evaluation": record.evaluation.model_copy(update={"distinctive": one})}
        )
        for one in layers
    ]
    return Cell("Mexico", "full", 1.0, tuple(records), None)


def ends(value: float | None, cells: list[Cell], unit: str = "user"):
    found = widen_layer(Interval(value, None, None, 2), cells, "distinctive", unit)
    return found.value, found.low, found.high


def test_reaches_of_seeds_are_averaged() -> None:
    seeds = [cell(layer(0.5, 0.4, 0.7), layer(0.7, 0.4, 0.8))]
    assert ends(0.6, seeds) == pytest.approx((0.6, 0.6 - 0.2, 0.6 + 0.15))
    assert ends(0.6, [cell(layer(0.5, 0.4, 0.7), layer(0.7, None, None))]) == (0.6, None, None)
    assert ends(None, [cell(*[layer(None, None, None)] * 2)]) == (None, None, None)


def test_countries_join_as_independent_or_as_one() -> None:
    # 10 pairs with reaches of 3 and 2 pairs, 30 with 4 and 2, and a country without pairs
    cells = [cell(layer(0.6, 0.3, 0.8)), cell(layer(0.6, 14 / 30, 20 / 30, pairs=30))]
    cells.append(cell(layer(None, None, None)))
    assert ends(0.6, cells) == pytest.approx((0.6, 0.6 - 5 / 40, 0.6 + 8**0.5 / 40))
    assert ends(0.6, cells, "question") == pytest.approx((0.6, 0.6 - 7 / 40, 0.6 + 4 / 40))
    assert ends(0.6, [*cells, cell(layer(0.5, None, None))]) == (0.6, None, None)
    assert ends(0.9, [cell(layer(0.9, 0.8, 1.2))])[2] == 1.0


def test_known_intervals_stay() -> None:
    known = Interval(0.5, 0.4, 0.6, 2)
    assert widen_layer(known, [cell(layer(0.5, 0.1, 0.9))], "distinctive", "user") is known


def judge(margin: np.ndarray, user: np.ndarray) -> AccuracyRecord:
    return AccuracyRecord.model_validate(pair_accuracy(margin, user).as_dict())


def test_joined_users_are_as_sure_as_a_bootstrap_of_all_of_them() -> None:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(60), 8)
    margins = rng.normal(0.4, 1.0, (3, 60)).repeat(8, axis=1) + rng.normal(size=(3, 480))
    users = np.concatenate([user + 100 * number for number in range(3)])
    expected = judge(margins.ravel(), users)
    _, low, high = ends(expected.accuracy, [cell(judge(each, user)) for each in margins])
    assert high - low == pytest.approx(expected.high - expected.low, rel=0.1)


def test_joined_questions_are_never_surer_than_a_bootstrap_of_all_of_them() -> None:
    rng = np.random.default_rng(1)
    question = np.repeat(np.arange(60), 8)
    shared = rng.normal(0.4, 1.0, 60).repeat(8)
    for own in (0.0, 1.0, 5.0):  # how far countries differ
        margins = shared + own * rng.normal(size=(3, 60)).repeat(8, axis=1)
        expected = judge(margins.ravel(), np.tile(question, 3))
        cells = [cell(judge(each, question)) for each in margins]
        _, low, high = ends(expected.accuracy, cells, "question")
        assert high - low >= 0.99 * (expected.high - expected.low)
