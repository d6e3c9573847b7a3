"""Pooled rows worked out by hand; tables of single arms are tested with their callers."""

import numpy as np
import pytest

from scpo.statistics.bootstrap import Interval, intervals_by_user
from sweeps.ledger.pooled import find_row, gather_cells, pooled_rows
from sweeps.ledger.records import TrialRecord, UserCounts


def final(records, country: str, arm: str) -> TrialRecord:
    return next(r for r in records if (r.purpose, r.country, r.arm) == ("final", country, arm))


def without_layers(record: TrialRecord) -> TrialRecord:
    """The record as older versions wrote it."""
    evaluation = record.evaluation.model_copy(update={"distinctive_by_user": None})
    return record.model_copy(update={"evaluation": evaluation})


def per_pair(counts: UserCounts) -> tuple[list[int], list[str]]:
    """Right or wrong of each pair, and its user."""
    right = [
        int(number < correct)
        for pairs, correct in zip(counts.pairs, counts.correct, strict=True)
        for number in range(pairs)
    ]
    return right, np.repeat(counts.users, counts.pairs).tolist()


def test_a_layer_has_the_interval_of_its_record(records):
    record = final(records, "Chile", "scpo")
    (row,) = pooled_rows(gather_cells([record], "test"))
    for name in ("distinctive", "consensus"):
        expected = getattr(record.evaluation, name)
        found = getattr(row, name)
        assert (found.value, found.low, found.high) == pytest.approx(
            (expected.accuracy, expected.low, expected.high)
        )
        assert getattr(row, f"{name}_pairs") == expected.pairs
        assert found.users == expected.users


def test_a_layer_over_countries_is_drawn_from_its_pairs(records):
    chosen = [final(records, country, "scpo") for country in ("Chile", "Mexico")]
    row = pooled_rows(gather_cells(chosen, "test"))[0]
    chile, mexico = (per_pair(record.evaluation.distinctive_by_user) for record in chosen)
    (expected,) = intervals_by_user([chile[0] + mexico[0]], chile[1] + mexico[1])
    assert row.distinctive == expected


def test_older_records_have_layers_without_an_interval(records):
    chosen = [final(records, country, "scpo") for country in ("Chile", "Mexico")]
    exact = pooled_rows(gather_cells(chosen, "test"))[0]
    for older in ([0], [1], [0, 1]):
        some = [without_layers(r) if n in older else r for n, r in enumerate(chosen)]
        row = pooled_rows(gather_cells(some, "test"))[0]
        assert row.consensus.value == pytest.approx(exact.consensus.value)
        assert (row.consensus.low, row.consensus.high) == (None, None)
        assert row.consensus_pairs == exact.consensus_pairs
        assert row.accuracy == exact.accuracy


def test_a_ledger_line_without_counts_of_layers_is_read(records):
    line = without_layers(records[0]).model_dump()
    del line["evaluation"]["distinctive_by_user"]
    assert TrialRecord.model_validate(line).evaluation.distinctive_by_user is None


def test_other_distinctive_pairs_are_refused(records):
    one = final(records, "Chile", "scpo")
    counts = one.evaluation.distinctive_by_user
    odd = counts.model_copy(update={"pairs": [counts.pairs[0] + 1, *counts.pairs[1:]]})
    evaluation = one.evaluation.model_copy(update={"distinctive_by_user": odd})
    other = one.model_copy(update={"arm": "full", "trial_id": "odd", "evaluation": evaluation})
    with pytest.raises(ValueError, match="trial odd differs from others on distinctive pairs"):
        gather_cells([one, other], "test")


def test_a_difference_needs_all_countries_of_its_row(records):
    """Beside the row's pairs and users, which are those of all its countries."""
    chosen = [final(records, country, "scpo") for country in ("Chile", "Mexico")]
    half = pooled_rows(gather_cells([*chosen, final(records, "Chile", "full")], "test"))
    assert [row.country for row in half if "full" in row.against] == ["Chile"]
    pooled = next(r for r in half if (r.country, r.arm) == ("pooled", "scpo"))
    assert pooled.difference("full") == Interval(None, None, None, 0)
    both = [final(records, country, "full") for country in ("Chile", "Mexico")]
    found = pooled_rows(gather_cells([*chosen, *both], "test"))
    pooled, full = (find_row(found, "pooled", arm) for arm in ("scpo", "full"))
    gain = pooled.accuracy.value - full.accuracy.value
    assert pooled.difference("full").value == pytest.approx(gain)


def test_users_of_one_name_are_drawn_as_one_if_asked(records):
    one = final(records, "Chile", "scpo")
    twin = one.model_copy(update={"country": "Peru"})
    cells = gather_cells([one, twin], "test")
    apart = pooled_rows(cells)[0]
    joined = pooled_rows(cells, name_user=lambda country, user: user)[0]
    assert (apart.users, joined.users) == (10, 5)
    assert apart.pairs == joined.pairs == 2 * one.evaluation.overall.pairs
    alone = one.evaluation.overall
    assert (joined.accuracy.low, joined.accuracy.high) == pytest.approx((alone.low, alone.high))
    assert apart.accuracy.low > joined.accuracy.low
