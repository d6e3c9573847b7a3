"""Rows of the study, worked out by hand; pooled intervals against draws written out."""

import numpy as np
import pytest

from scpo.statistics.bootstrap import Interval, draw_users, widened_tail
from sweeps.ledger.pooled import PooledRow, find_row
from sweeps.research.study_page.rows import name_question, study_rows
from tests.sweeps.research.study_page.records import RECORDS, make_record


def row_of(country: str, arm: str, unit: str = "user") -> PooledRow:
    row = find_row(study_rows(RECORDS, unit), country, arm)
    assert row is not None
    return row


def test_seeds_are_averaged_per_user() -> None:
    row = row_of("Mexico", "full")  # users 7 and 6 of 10 on average
    assert row.accuracy == Interval(0.65, pytest.approx(0.6), pytest.approx(0.7), 2)
    assert (row.num_seeds, row.pairs, row.users, row.num_countries) == (2, 20, 2, 1)
    assert row.seed_deviation == pytest.approx(0.1 / 2**0.5)
    assert (row.distinctive, row.distinctive_pairs) == (
        Interval(pytest.approx(0.65), None, None, 2),
        8,
    )
    assert (row.consensus, row.consensus_pairs) == (
        Interval(pytest.approx(0.65), None, None, 2),
        12,
    )
    assert row.against.keys() == {"global", "length"}


def test_differences_are_paired_by_user() -> None:
    row = row_of("Mexico", "scpo")  # users 9 and 8; full 7 and 6
    assert row.against["full"] == Interval(
        pytest.approx(0.2), pytest.approx(0.2), pytest.approx(0.2), 2
    )
    assert row.against["full"].sign == 1
    assert row.against["global"].value == pytest.approx(0.35)
    assert row.pairs_trained == 25.0


def test_pooled_rows_join_pairs_and_trained_pairs() -> None:
    row = row_of("pooled", "scpo")
    assert row.accuracy.value == pytest.approx((9 + 8 + 6 + 8) / 40)
    assert (row.pairs, row.users, row.num_countries, row.pairs_trained) == (40, 4, 2, 35.0)
    assert row.distinctive is not None
    assert row.distinctive.value == pytest.approx((17 + 14) / 40)


def test_a_question_of_two_countries_is_drawn_as_one() -> None:
    row = row_of("pooled", "scpo", "question")  # question 0 has 9 + 6 right of 20, question 1 16
    assert row.users == 2
    draws = draw_users(np.random.default_rng(0), 10_000, 2)
    shares = draws @ np.array([15, 16]) / (draws @ np.array([20, 20]))
    tail = widened_tail(2)
    assert (row.accuracy.low, row.accuracy.high) == pytest.approx(
        tuple(np.quantile(shares, [tail, 1 - tail]))
    )


def test_arms_come_in_order_and_pooled_first() -> None:
    order = [(row.country, row.arm) for row in study_rows(RECORDS, "user")]
    arms = ["global", "full", "scpo", "length"]
    assert order == [(c, arm) for c in ("pooled", "Mexico", "Chile") for arm in arms]
    alone = [record for record in RECORDS if record.country == "Chile"]
    assert {row.country for row in study_rows(alone, "user")} == {"Chile"}


def test_no_difference_to_an_arm_that_a_country_lacks() -> None:
    records = [*RECORDS, make_record("Mexico", "random_k", [5, 6])]
    rows = study_rows(records, "user")
    assert "random_k" in find_row(rows, "Mexico", "scpo").against
    assert "random_k" not in find_row(rows, "pooled", "scpo").against


def test_records_of_other_users_are_refused() -> None:
    with pytest.raises(ValueError, match="on the same pairs"):
        study_rows([*RECORDS, make_record("Mexico", "filter", [5, 6, 7])], "user")


def test_questions_lose_their_own_country_only() -> None:
    assert name_question("Chile", "Chile/q1") == name_question("Peru", "Peru/q1") == "q1"
    assert name_question("A/B", "A/B/q1") == "q1"
    assert name_question("Chile", "yes/no") == "yes/no"
