import numpy as np
import pytest

from scpo.statistics.bootstrap import Interval
from sweeps.ranking.recommendation import Candidates, compare_settings

PAIRS = np.full(4, 10.0)


def compare(correct, pairs_trained, violation=None, *, margin=0.01, pairs=PAIRS):
    candidates = Candidates(
        np.array(correct, dtype=float),
        pairs,
        np.array(pairs_trained, dtype=float),
        np.zeros(len(correct)) if violation is None else np.array(violation),
    )
    return compare_settings(candidates, margin=margin, num_resamples=200)


def test_best_and_choice_by_hand():
    result = compare([[8, 8, 8, 8], [8, 8, 8, 8], [5, 5, 5, 5]], [90, 60, 10])
    assert (result.best, result.chosen) == (1, 1)  # of equally accurate ones the cheapest
    same, worse = Interval(0.0, 0.0, 0.0, 4), Interval(*[pytest.approx(-0.3)] * 3, 4)
    assert result.differences == [same, same, worse]
    assert result.non_inferior.tolist() == [True, True, False]


def test_of_equally_cheap_ones_the_most_accurate_then_the_first_is_chosen():
    result = compare([[7, 8, 8, 8], [8, 8, 8, 8], [8, 8, 8, 8]], [60, 60, 60], margin=0.5)
    assert (result.best, result.chosen) == (1, 1)


def test_only_feasible_rows_are_best_or_chosen():
    result = compare([[9, 9, 9, 9], [6, 6, 6, 6]], [10, 90], [0.2, 0.0])
    assert (result.best, result.chosen) == (1, 1)


def test_without_a_feasible_row_the_smallest_violation_is_chosen():
    rows = [[9, 9, 9, 9], [6, 6, 6, 6], [6, 6, 6, 7]]
    result = compare(rows, [10, 90, 95], [0.2, 0.1, 0.1])
    assert (result.best, result.chosen) == (0, 2)  # of equal violations the more accurate


def test_one_user_gives_no_interval():
    result = compare([[8], [8]], [90, 60], pairs=np.array([10.0]))
    assert result.differences == [Interval(0.0, None, None, 1)] * 2
    assert result.non_inferior.tolist() == [False, True]


def test_more_rows_than_are_drawn_at_once_change_nothing():
    rng = np.random.default_rng(0)
    correct = rng.integers(0, 11, (300, 4))
    many = compare(correct, np.arange(300))
    few = compare(correct[[many.best, 299]], [0, 1])
    assert many.differences[299] == few.differences[1]
