"""Base, accuracy and thrift by hand, on counts of four users."""

import math

import numpy as np
import pytest

from scpo.config import parse_config
from scpo.statistics.bootstrap import Interval
from sweeps.config import SweepConfig
from sweeps.ranking.recommendation import (
    GLOBAL_ROW,
    Candidates,
    ChoiceRule,
    compare_settings,
    rule_of,
)

PAIRS = np.full(4, 10.0)
POOR, GOOD = [3, 4, 3, 4], [8, 7, 8, 9]


def compare(correct, pairs_trained, violation=None, *, glob=POOR, full=0, pairs=PAIRS, **rule):
    candidates = Candidates(
        np.array(correct, dtype=float),
        pairs,
        np.array(glob, dtype=float),
        np.array(pairs_trained, dtype=float),
        np.zeros(len(correct)) if violation is None else np.array(violation),
        full,
    )
    return compare_settings(candidates, ChoiceRule(**rule), num_resamples=200)


def test_full_stays_where_nothing_is_surely_better() -> None:
    # the second is better by 2 pairs of 40: gains 0, 2, 0, 0 with an error as large
    result = compare([[8, 7, 8, 9], [8, 9, 8, 9]], [100, 60])
    assert (result.base, result.accuracy) == (0, 0)


def test_a_sure_gain_is_chosen() -> None:
    result = compare([[6, 6, 6, 6], [8, 9, 8, 9], [10, 6, 10, 6]], [100, 60, 50])
    assert (result.base, result.accuracy) == (0, 1)
    assert result.differences[1].value == pytest.approx(10 / 40)
    assert result.differences[0] == Interval(0.0, 0.0, 0.0, 4)


def test_the_global_model_is_the_base_where_it_is_shown_to_be_better() -> None:
    result = compare([[5, 5, 5, 5], [6, 6, 6, 6]], [100, 60], glob=GOOD)
    assert (result.base, result.accuracy, result.thrift) == (GLOBAL_ROW,) * 3
    assert result.differences[GLOBAL_ROW] == Interval(0.0, 0.0, 0.0, 4)
    # a setting surely above it is still found
    result = compare([[5, 5, 5, 5], [10, 9, 9, 10]], [100, 60], glob=GOOD)
    assert (result.base, result.accuracy) == (GLOBAL_ROW, 1)


def test_without_full_or_with_a_full_that_breaks_the_constraint_the_global_model_is() -> None:
    assert compare([[3, 4, 3, 5]], [60], full=None).base == GLOBAL_ROW
    assert compare([[3, 4, 3, 5]], [60], [0.1]).base == GLOBAL_ROW


def test_what_breaks_the_constraint_is_never_chosen() -> None:
    rows = [[6, 6, 6, 6], [8, 9, 8, 9]]
    assert compare(rows, [100, 60], [0.0, 0.2]).accuracy == 0
    assert compare(rows, [100, 60], [0.2, 0.2]).accuracy == GLOBAL_ROW


def test_infinite_caution_is_full() -> None:
    result = compare([[1, 1, 1, 1], [9, 9, 9, 10]], [100, 60], glob=GOOD, caution=math.inf)
    assert (result.base, result.accuracy) == (0, 0)


def test_thrift_is_the_cheapest_that_loses_no_more_than_the_margin() -> None:
    rows = [[8, 8, 8, 8], [8, 8, 8, 7], [8, 8, 8, 8], [2, 2, 2, 2]]
    # one user of four loses one of ten pairs: at worst all draws are that user, -0.1
    assert compare(rows, [100, 30, 60, 10], margin=0.11).thrift == 1
    assert compare(rows, [100, 30, 60, 10], margin=0.01).thrift == 2
    assert compare(rows, [100, 30, 60, 10], [0, 0, 0.1, 0], margin=0.01).thrift == 0
    assert compare(rows, [100, 30, 60, 10], glob=[8, 8, 8, 8]).thrift == GLOBAL_ROW  # 0 pairs


def test_of_equally_cheap_ones_thrift_takes_the_most_accurate() -> None:
    rows = [[8, 8, 8, 8], [8, 8, 8, 7], [8, 8, 8, 8]]
    assert compare(rows, [60, 30, 30], margin=0.5).thrift == 2


def test_one_user_keeps_the_base() -> None:
    result = compare([[8], [9]], [90, 60], glob=[3], pairs=np.array([10.0]))
    assert (result.base, result.accuracy, result.thrift) == (0, 0, 0)
    assert result.non_inferior.tolist() == [True, False, False]


@pytest.mark.parametrize("margin", [-0.1, 1.0, math.nan])
def test_a_margin_out_of_range_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="`0 <= margin < 1` must hold, but got margin="):
        ChoiceRule(margin=margin)


def test_the_rule_is_that_of_the_configuration() -> None:
    search = {"non_inferiority": 0.02, "caution": 3.0, "max_consensus_drop": 0.1}
    raw = {"name": "x", "countries": ["A"], "global_model": {"name": "m"}, "search": search}
    config = parse_config(SweepConfig, {**raw, "final": {"which": "thrift"}}, "test")
    assert rule_of(config) == ChoiceRule(0.02, 3.0, 0.1, "thrift")
