import csv
from dataclasses import replace

import numpy as np
import pytest

from scpo.statistics.bootstrap import Interval
from sweeps.ranking.one_for_all import choose_common, shared_settings
from sweeps.ranking.ranking import rank_records
from sweeps.ranking.recommendation import ChoiceRule
from sweeps.ranking.regret import describe_regret, regret_table, write_regret

NUMBERS = {"learning_rate": 1e-5, "epochs": 2}


def own(trial, country, correct, pairs_trained, retention):
    record = trial(f"{country}-own", correct, pairs_trained, country=country)
    return record.model_copy(
        update={"config": {"retention": retention, "strength": 1.2, **NUMBERS}}
    )


def arm(trial, country, name, correct, pairs_trained=100, *, seed=0, drop=-0.1, purpose="curve"):
    record = trial(f"{country}-{name}-{seed}", correct, pairs_trained, country=country, drop=drop)
    config = {"tau": 0.7, "beta": 1.1, "budget": 1.0, **NUMBERS}
    update = {"arm": name, "purpose": purpose, "seed": seed, "config": config}
    return record.model_copy(update=update)


@pytest.fixture
def two_countries(trial):
    """Chile gains 0.2 of every user by tuning, Mexico nothing; `weight` is worse on average."""
    return [
        own(trial, "Chile", [9] * 4, 50, 0.3),
        own(trial, "Mexico", [8] * 4, 60, 0.4),
        arm(trial, "Chile", "full", [7] * 4),
        arm(trial, "Mexico", "full", [8] * 4),
        arm(trial, "Chile", "weight", [8] * 4),
        arm(trial, "Mexico", "weight", [6] * 4),
        arm(trial, "Chile", "scpo", [10] * 4),  # not tried in Mexico
    ]


def table_of(records):
    return regret_table(records, rank_records(records))


def test_regret_by_hand(two_countries):
    table = table_of(two_countries)
    assert table.setting == "full (all pairs, no weighting), epochs 2, learning rate 1e-05"
    assert table.num_candidates == 2
    assert table.feasible
    pooled, chile, mexico = table.rows
    assert [row.country for row in table.rows] == ["pooled", "Chile", "Mexico"]
    assert (chile.tuned, chile.common) == pytest.approx((0.9, 0.7))
    # every user gains 2 of 10, whoever is drawn
    assert chile.regret == Interval(*[pytest.approx(0.2)] * 3, 4)
    assert mexico.regret == Interval(0.0, 0.0, 0.0, 4)
    # where all users that are drawn gain alike, nothing tells the gain from luck and the global
    # model, which orders 1 or 2 of 10 right, stays: that costs
    assert 0.0 < chile.held_out < 0.2
    assert mexico.held_out < 0.0
    assert (chile.pairs_tuned, chile.pairs_common) == (50, 100)
    assert (pooled.tuned, pooled.common, pooled.regret.value) == pytest.approx((0.85, 0.75, 0.1))
    assert 0.0 <= pooled.regret.low < 0.1 < pooled.regret.high <= 0.2
    assert (pooled.pairs, pooled.users, pooled.pairs_tuned) == (80, 8, 110)


def test_a_setting_that_breaks_the_constraint_somewhere_is_not_common(trial, two_countries):
    records = [r for r in two_countries if (r.country, r.arm) != ("Mexico", "full")]
    records.append(arm(trial, "Mexico", "full", [8] * 4, drop=0.1))
    table = table_of(records)
    assert table.setting.startswith("arm weight, beta 1.1")
    assert table.feasible
    only = [r for r in records if r.arm != "weight"]
    assert not table_of(only).feasible
    assert "which breaks the constraint in some country" in describe_regret(table_of(only))


def test_seeds_of_the_common_setting_are_averaged(trial, two_countries):
    table = table_of([*two_countries, arm(trial, "Chile", "full", [8, 8, 6, 10], seed=1)])
    chile = table.rows[1]
    assert chile.common == pytest.approx((0.7 + 0.8) / 2)
    assert (chile.seed_deviation, chile.num_repeats) == (pytest.approx(0.1 / np.sqrt(2)), 1)
    assert (table.rows[2].seed_deviation, table.rows[2].num_repeats) == (None, 0)
    assert "Noise floor: 7.1 points" in describe_regret(table)
    assert "(1 repeat)" in describe_regret(table)


def test_a_recommended_setting_that_is_the_common_one_loses_nothing_to_it(trial):
    records = []
    for country in ("Chile", "Mexico"):
        best = trial(f"{country}-full", [9, 8, 9, 9], 100, country=country, full=True)
        best = best.model_copy(update={"config": {"retention": 1.0, "strength": 0.0, **NUMBERS}})
        records += [best, arm(trial, country, "full", [5] * 4, 90, seed=1)]
    table = table_of(records)
    assert table.setting.startswith("full")
    assert [row.regret.value for row in table.rows] == [0.0] * 3
    assert table.rows[1].pairs_tuned == table.rows[1].pairs_common == 95
    assert [row.held_out for row in table.rows] == [0.0] * 3  # not the luck of the search's seed


def test_the_common_setting_keeps_the_constraint_of_the_run(records):
    """Whatever a curve's record says, whose job knows of no bound."""
    rankings = rank_records(records, rule=ChoiceRule(max_consensus_drop=0.0))
    _, countries = shared_settings(records, rankings)
    chile = countries[0]
    assert chile.ranking.country == "Chile"
    assert not chile.feasible.all()
    rankings = rank_records(records, rule=ChoiceRule(max_consensus_drop=1.0))
    assert all(country.feasible.all() for country in shared_settings(records, rankings)[1])


def test_equal_points_of_the_search_are_shared(trial):
    records = []
    for country, right in (("Chile", 7), ("Mexico", 6)):
        records.append(own(trial, country, [right] * 4, 50, 0.5))
        other = own(trial, country, [right + 1] * 4, 60, 0.1 * right)
        records.append(other.model_copy(update={"trial_id": f"{country}-2"}))
    table = table_of(records)
    assert table.setting == "retention 0.5, strength 1.2, epochs 2, learning rate 1e-05"
    assert [row.regret.value for row in table.rows] == pytest.approx([0.1] * 3)


def test_the_best_and_the_recommended_have_their_own_regret(trial, two_countries):
    # the global model orders 1 2 1 2 right: gains of 9 8 9 5 have a higher mean and a larger error
    lucky = own(trial, "Chile", [10, 10, 10, 7], 20, 0.2)
    records = [*two_countries, lucky.model_copy(update={"trial_id": "lucky"})]
    table = regret_table(records, rank_records(records))
    chile = table.rows[1]
    assert (chile.regret.value, chile.best_regret) == pytest.approx((0.2, 0.225))


def test_a_kept_global_model_is_what_is_tuned(trial):
    records = []
    for country in ("Chile", "Mexico"):
        for record in (
            own(trial, country, [3] * 4, 50, 0.3),
            arm(trial, country, "full", [7] * 4),
        ):
            counts = record.evaluation.global_by_user.model_copy(update={"correct": [8, 9, 8, 8]})
            judged = record.evaluation.model_copy(update={"global_by_user": counts})
            records.append(record.model_copy(update={"evaluation": judged}))
    pooled, chile, _ = table_of(records).rows
    assert (chile.tuned, chile.common, chile.pairs_tuned) == pytest.approx((33 / 40, 0.7, 0))
    assert pooled.regret.value == pytest.approx(5 / 40)


def test_choice_on_some_users_is_judged_on_others(trial):
    # Each setting of Chile suits one user: what is chosen on one fails on the other.
    records = [
        own(trial, "Chile", [10, 3], 50, 0.3),
        own(trial, "Chile", [3, 10], 50, 0.4).model_copy(update={"trial_id": "other"}),
        own(trial, "Mexico", [5, 5], 50, 0.3).model_copy(update={"trial_id": "m"}),
        arm(trial, "Chile", "full", [5, 5]),
        arm(trial, "Mexico", "full", [5, 5]),
    ]
    chile = next(row for row in table_of(records).rows if row.country == "Chile")
    # retention 0.3 was tried in both too; on average full is as accurate, and it comes later
    assert chile.held_out <= 0.0


def test_pruned_rung_budget_and_foreign_records_are_never_common(trial, two_countries):
    kept = [r for r in two_countries if r.arm == "scpo_tuned"]
    full = [r for r in two_countries if r.arm == "full"]
    for update in (
        {"state": "pruned", "rung": 64},
        {"purpose": "rung", "rung": 64},
        {"config": {"budget": 0.5, **NUMBERS}},
        {"arm": "random_k"},
    ):
        table = table_of([*kept, *(record.model_copy(update=update) for record in full)])
        assert table.missing.startswith("no setting was tried in every country on the same")
    fewer_users = [arm(trial, r.country, "full", [8] * 3) for r in full]
    assert table_of([*kept, *fewer_users]).rows == ()


def test_one_country_or_none_has_no_regret(two_countries):
    chile = [record for record in two_countries if record.country == "Chile"]
    assert describe_regret(table_of(chile)) == (
        "Regret of one setting for all countries: not known, for one setting for all needs at "
        "least two countries with ranked settings."
    )
    assert regret_table([], []).rows == ()


def test_one_user_each_gives_a_pooled_interval_alone(trial):
    records = []
    for country in ("Chile", "Mexico"):
        records += [own(trial, country, [9], 50, 0.3), arm(trial, country, "full", [7])]
    pooled, chile, _ = table_of(records).rows
    assert (chile.regret.low, chile.regret.high, chile.held_out) == (None, None, None)
    # one user is nothing to choose by, so the global model stays: 1 of 10 right, not 9
    assert (pooled.regret.low, pooled.regret.high) == pytest.approx((-0.8, -0.8))
    assert pooled.held_out is None


def test_the_table_in_words(two_countries):
    table = table_of(two_countries)
    words = describe_regret(table)
    assert f"points on it; {100 * table.rows[0].held_out:+.1f} on users" in words
    assert words.startswith(
        "One setting for all, the best of 2 tried everywhere: full (all pairs, no weighting), "
        "epochs 2, learning rate 1e-05. Tuned per country gains +10.0 ("
    )
    assert "on users that neither choice saw. No setting was repeated with another seed" in words


def test_csv_has_a_line_for_each_row(tmp_path, two_countries):
    write_regret(table_of(two_countries), tmp_path / "regret.csv")
    rows = list(csv.DictReader((tmp_path / "regret.csv").read_text().splitlines()))
    assert [row["country"] for row in rows] == ["pooled", "Chile", "Mexico"]
    assert float(rows[1]["regret"]) == pytest.approx(0.2)
    assert rows[1]["seed_deviation"] == ""


def test_common_choice_follows_the_drawn_users(two_countries):
    keys, countries = shared_settings(two_countries, rank_records(two_countries))
    names = [dict(key).get("arm", "full") for key in keys]
    assert names == ["weight", "full"]
    one_each = [np.eye(4, dtype=np.int64)[[0]] for _ in countries]
    assert choose_common(countries, one_each) == [1]


def test_contradicting_pairs_of_one_user_are_refused(trial, two_countries):
    odd = trial("odd", [8] * 4, 100, country="Chile", num_pairs=20)
    odd = odd.model_copy(update={"arm": "full", "purpose": "curve", "config": NUMBERS})
    with pytest.raises(ValueError, match="but trial odd differs from"):
        table_of([*two_countries, odd])


def test_the_noise_floor_counts_its_repeats(two_countries):
    table = table_of(two_countries)
    for repeats, told in ((1, "1 repeat)."), (3, "3 repeats).")):
        pooled = replace(table.rows[0], seed_deviation=0.012, num_repeats=repeats)
        words = describe_regret(replace(table, rows=(pooled, *table.rows[1:])))
        assert words.endswith(
            f"Noise floor: 1.2 points, the standard deviation between seeds of one setting ({told}"
        )
    unknown = replace(table.rows[0], held_out=None)
    assert "neither choice" not in describe_regret(replace(table, rows=(unknown,)))
