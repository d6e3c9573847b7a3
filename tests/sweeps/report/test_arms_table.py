import csv
import io

import pytest

from scpo.statistics.bootstrap import intervals_by_user
from scpo.text.terminal import TextConsole
from sweeps.ledger.pooled import note_countries
from sweeps.ledger.words import ARM_ORDER, POOLED, TUNED_USER, USER
from sweeps.report.arms_table import arm_rows, arms_rich_table, write_arms
from sweeps.report.report_page import render_report


def final(records, country: str, arm: str):
    return next(r for r in records if (r.purpose, r.country, r.arm) == ("final", country, arm))


def row_of(rows, country: str, arm: str):
    return next(row for row in rows if (row.country, row.arm) == (country, arm))


def per_pair(pairs, correct):
    """Right or wrong of each pair, and its user's number."""
    values, users = [], []
    for user, (count, right) in enumerate(zip(pairs, correct, strict=True)):
        values += [1] * right + [0] * (count - right)
        users += [user] * count
    return values, users


def test_pooled_comes_first_and_arms_in_the_order_of_the_paper(records):
    rows = arm_rows(records)
    assert list(dict.fromkeys(row.country for row in rows)) == [
        POOLED,
        "Chile",
        "Mexico",
        "South Africa",
    ]
    assert tuple(row.arm for row in rows[:8]) == tuple(
        arm for arm in ARM_ORDER if arm not in (USER, TUNED_USER)
    )
    assert len(rows) == 4 * 8


def test_a_row_repeats_its_record(records):
    record = final(records, "Chile", "scpo")
    row = row_of(arm_rows(records), "Chile", "scpo")
    overall = record.evaluation.overall
    assert (row.accuracy.value, row.accuracy.low, row.accuracy.high) == pytest.approx(
        (overall.accuracy, overall.low, overall.high)
    )
    assert (row.pairs, row.users) == (overall.pairs, overall.users)
    assert row.distinctive.value == record.evaluation.distinctive.accuracy
    assert row.consensus_pairs == record.evaluation.consensus.pairs
    assert row.global_accuracy == record.evaluation.global_overall.accuracy
    assert row.length_accuracy == pytest.approx(record.evaluation.length.accuracy)
    assert row.pairs_trained == record.counts["pairs_trained"] == 144
    assert row.country_mean is None


def test_paired_differences_agree_with_a_bootstrap_over_pairs(records):
    scpo = final(records, "Chile", "scpo").evaluation.by_user
    full = final(records, "Chile", "full").evaluation.by_user
    right, users = per_pair(scpo.pairs, scpo.correct)
    base, _ = per_pair(full.pairs, full.correct)
    gains = [a - b for a, b in zip(right, base, strict=True)]
    row = row_of(arm_rows(records), "Chile", "scpo")
    difference = row.difference("full")
    assert difference.value == pytest.approx(sum(gains) / len(gains))
    (expected,) = intervals_by_user([gains], users)
    assert (difference.low, difference.high) == (expected.low, expected.high)
    gain = row.accuracy.value - row.global_accuracy
    assert row.difference("global").value == pytest.approx(gain)


def test_baselines_are_not_compared_with_themselves(records):
    rows = arm_rows(records)
    assert "full" not in row_of(rows, "Chile", "full").against
    assert "global" not in row_of(rows, "Chile", "global").against
    assert "full" in row_of(rows, "Chile", "global").against


def test_pooled_joins_pairs_and_users_of_all_countries(records):
    rows = arm_rows(records)
    parts = [row_of(rows, c, "scpo") for c in ("Chile", "Mexico", "South Africa")]
    pooled = row_of(rows, POOLED, "scpo")
    assert pooled.pairs == sum(part.pairs for part in parts)
    assert pooled.users == 15
    assert pooled.num_countries == 3
    total = sum(part.accuracy.value * part.pairs for part in parts)
    assert pooled.accuracy.value == pytest.approx(total / pooled.pairs)
    assert pooled.country_mean == pytest.approx(sum(part.accuracy.value for part in parts) / 3)
    right = sum(part.distinctive.value * part.distinctive_pairs for part in parts)
    assert pooled.distinctive.value == pytest.approx(right / pooled.distinctive_pairs)
    assert pooled.pairs_trained == sum(part.pairs_trained for part in parts)
    assert pooled.accuracy.low < pooled.accuracy.value < pooled.accuracy.high


def test_seeds_are_averaged_per_user(records):
    one = final(records, "Chile", "scpo")
    other = final(records, "Chile", "weight")
    two = other.model_copy(update={"arm": "scpo", "seed": one.seed + 1})
    row = row_of(arm_rows([one, two]), "Chile", "scpo")
    shares = [r.evaluation.overall.accuracy for r in (one, two)]
    assert row.accuracy.value == pytest.approx(sum(shares) / 2)
    assert row.num_seeds == 2
    assert row.pairs == one.evaluation.overall.pairs
    assert row.pairs_trained == (144 + 240) / 2


def test_the_last_record_of_one_seed_counts(records):
    one = final(records, "Chile", "scpo")
    again = final(records, "Chile", "weight").model_copy(update={"arm": "scpo"})
    (row,) = arm_rows([one, again])
    assert row.accuracy.value == pytest.approx(again.evaluation.overall.accuracy)


def test_without_full_there_is_no_difference_to_it_and_one_country_is_not_pooled(records):
    (row,) = arm_rows([final(records, "Chile", "scpo")])
    assert row.country == "Chile"
    assert row.against.keys() == {"global"}


def test_an_arm_of_fewer_countries_says_so(records):
    some = [r for r in records if (r.country, r.arm) != ("Mexico", "scpo")]
    pooled = row_of(arm_rows(some), POOLED, "scpo")
    assert pooled.num_countries == 2


def test_failed_finals_are_left_out(records):
    failed = final(records, "Chile", "scpo").model_copy(
        update={"state": "failed", "evaluation": None}
    )
    assert arm_rows([failed]) == []


def test_validation_figures_are_refused(records):
    searched = records[0].model_copy(update={"purpose": "final"})
    with pytest.raises(ValueError, match="must be evaluated on test users, but trial search-"):
        arm_rows([searched])


def test_other_users_are_refused(records):
    one, other = final(records, "Chile", "scpo"), final(records, "Mexico", "full")
    moved = other.model_copy(update={"country": "Chile"})
    with pytest.raises(ValueError, match="trial final-Mexico-full differs"):
        arm_rows([one, moved])


def test_csv_has_a_column_for_each_field(tmp_path, records):
    rows = arm_rows(records)
    path = tmp_path / "arms.csv"
    write_arms(rows, path)
    read = list(csv.DictReader(path.read_text().splitlines()))
    assert len(read) == len(rows)
    assert read[0]["country"] == POOLED
    assert read[1]["vs_full"] == ""
    assert float(read[1]["accuracy"]) == round(rows[1].accuracy.value, 6)


def test_the_table_shows_names_as_they_are(records):
    renamed = [
        r.model_copy(update={"country": "A|[b]B[/b]"}) if r.country == "Chile" else r
        for r in records
    ]
    rows = arm_rows(renamed)
    console = TextConsole(width=250, file=io.StringIO())
    console.print(arms_rich_table(rows))
    assert "A|[b]B[/b]" in console.file.getvalue()
    assert "against full" in console.file.getvalue()


def test_without_a_final_the_table_has_no_line() -> None:
    assert arms_rich_table([]).row_count == 0


def test_a_pooled_row_says_which_countries_it_lacks(records):
    lacking = [r for r in records if (r.purpose, r.country, r.arm) != ("final", "Chile", "scpo")]
    rows = arm_rows(lacking)
    pooled = [row for row in rows if row.country == POOLED]
    notes = {row.arm: note_countries(row, rows) for row in pooled}
    assert notes.pop("scpo") == "2 of 3 countries"
    assert set(notes.values()) == {""}
    console = TextConsole(file=io.StringIO(), width=250)
    console.print(arms_rich_table(rows))
    assert console.file.getvalue().count("pooled (2 of 3 countries)") == 1
    page = render_report(lacking, name="run", config=None)
    assert page.count("2 of 3 countries") == 1
