"""What breaks the constraint: by the interval, the record's own word, or another bound."""

import pytest

from scpo.statistics.bootstrap import Interval
from sweeps.ledger.user_counts import align_by_user
from sweeps.ranking.consensus import judge_consensus


def judge(records, max_drop):
    return judge_consensus(records, align_by_user(records, "validation"), max_drop)


def test_a_record_without_counts_of_layers_is_judged_by_its_constraint(trial):
    records = [trial("kept", [5, 5], 9, drop=-0.1), trial("broken", [5, 5], 9, drop=0.2)]
    kept, broken = judge(records, 0.0)
    assert (kept.drop, kept.violation, kept.told) == (Interval(None, None, None, 0), 0.0, False)
    assert (broken.violation, broken.told) == (0.2, True)
    silent = records[0].model_copy(update={"constraints": {}})
    assert judge([silent], 0.0)[0].violation == 0.0


def test_the_interval_judges_and_other_constraints_count_beside_it(records):
    chile = [r for r in records if r.country == "Chile" and r.purpose == "search" and r.evaluation]
    allowed = judge(chile, 1.0)
    assert {verdict.violation for verdict in allowed} == {0.0}
    assert all(verdict.told for verdict in allowed)
    high = allowed[0].drop.high
    assert judge(chile, high)[0].told
    assert not judge(chile, high - 1e-9)[0].told
    slow = [r.model_copy(update={"constraints": {"seconds": 0.5, "memory": -1.0}}) for r in chile]
    for before, after in zip(judge(chile, 0.0), judge(slow, 0.0), strict=True):
        assert after.violation == pytest.approx(before.violation + 0.5)
