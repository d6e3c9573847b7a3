"""Which points of the search may start."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from sweeps.config import SearchConfig
from sweeps.studies import find_fault

POINT = {"retention": 0.5, "strength": 0.0, "learning_rate": 1e-5, "epochs": 1.0}


def country_of(margins: list[float]) -> Any:
    margin = np.asarray(margins)
    return SimpleNamespace(reference_margin=margin, pairs_in=lambda part: np.arange(len(margin)))


def test_a_point_that_keeps_enough_may_start() -> None:
    data = country_of([float(number) for number in range(20)])
    assert find_fault(SearchConfig(), data, POINT) is None


def test_too_few_pairs_are_known_before() -> None:
    data = country_of([float(number) for number in range(14)])
    fault = find_fault(SearchConfig(), data, POINT)
    assert fault == "it keeps 7 pairs, fewer than search.min_pairs of 8"


def test_weights_that_leave_too_little_are_known_before() -> None:
    # scale 57.66, strength 10: weights fall by r = exp(-10 / 5.766) = 0.1765 a pair, and Kish's
    # number of a long geometric series is (1 + r) / (1 - r) = 1.43
    data = country_of([-10.0 * number for number in range(20)])
    fault = find_fault(SearchConfig(), data, {**POINT, "strength": 10.0})
    assert fault is not None
    assert fault.startswith("its weights leave 1.4 effective pairs, fewer than")
