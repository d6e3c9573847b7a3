import pytest

from sweeps.ranking.ranking import rank_country, rank_records
from sweeps.report.arms_table import arm_rows
from sweeps.report.promised_and_tested import winner_rows


def test_validation_stands_beside_the_test(records):
    rankings, arms = rank_records(records), arm_rows(records)
    rows = winner_rows(rankings, arms)
    assert [row.country for row in rows] == ["Chile", "Mexico", "South Africa"]
    for row, ranking in zip(rows, rankings, strict=True):
        assert row.validation == ranking.recommended.accuracy
        assert row.expected == pytest.approx(row.validation - ranking.optimism)
        assert (row.tested.country, row.tested.arm) == (row.country, "scpo_tuned")
        assert (row.full.country, row.full.arm) == (row.country, "full")


def test_what_is_not_known_is_empty(trial):
    one_user = rank_country([trial("a", [8], 10)], "Mexico")
    failed = rank_country([trial("f", [8], 10, state="failed", country="Peru")], "Peru")
    (row,) = winner_rows([one_user, failed], [])
    assert (row.validation, row.optimism, row.expected) == (0.8, None, None)
    assert (row.tested, row.full) == (None, None)
