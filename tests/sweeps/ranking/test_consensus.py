"""What breaks the constraint: by the interval, the record's own word, or another bound."""

from dataclasses import replace

import numpy as np
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


def test_what_is_broken_adds_up_where_layers_are_not_counted_too(trial):
    record = trial("old", [5, 5], 9, drop=0.2)
    slow = record.model_copy(update={"constraints": {**record.constraints, "seconds": 0.5}})
    assert judge([slow], 0.0)[0].violation == pytest.approx(0.7)


def test_one_user_cannot_tell_whether_the_consensus_is_kept(trial):
    record = trial("one", [5], 9, drop=0.2)
    counts = align_by_user([record], "validation")
    counts = replace(counts, distinctive_pairs=np.zeros(1), distinctive=np.zeros((1, 1)))
    allowed = {bound: judge_consensus([record], counts, bound)[0] for bound in (0.9, 1.0)}
    assert allowed[0.9].drop.high is None
    assert not allowed[0.9].told
    assert allowed[1.0].told  # no drop is larger
