import math

import numpy as np
import pytest

from scpo.statistics.bootstrap import draw_users, widened_tail
from sweeps.ledger.records import read_records
from sweeps.ranking.ranking import rank_country, rank_records, rank_searched
from sweeps.ranking.recommendation import ChoiceRule


def by_id(ranking):
    return {setting.record.trial_id: setting for setting in ranking.settings}


def full(trial, correct, pairs_trained=200, **more):
    """Plain fine-tuning, the base, beside a poor global model."""
    return trial("0-full", correct, pairs_trained, full=True, **more)


def test_order_front_and_answers_by_hand(trial):
    ranking = rank_country(
        [
            full(trial, [6, 6, 7, 6]),
            trial("best", [8, 8, 8, 9], 150),
            trial("much-worse", [4, 4, 4, 4], 50),
            trial("dominated", [4, 4, 4, 3], 60),
        ],
        "Mexico",
    )
    settings = by_id(ranking)
    assert [s.record.trial_id for s in ranking.settings] == [
        "best",
        "0-full",
        "much-worse",
        "dominated",
    ]
    assert [s.rank for s in ranking.settings] == [1, 2, 3, 4]
    assert [s.record.trial_id for s in ranking.front] == ["much-worse", "best"]
    assert ranking.base is settings["0-full"]
    assert settings["0-full"].non_inferior
    assert settings["0-full"].indistinguishable
    assert ranking.recommended is settings["best"]
    assert ranking.answers == dict.fromkeys(
        ("accuracy", "thrift", "balance"), settings["best"]
    )  # the front has no bend
    assert settings["best"].answers == ("accuracy", "thrift", "balance")
    # gains 2, 2, 1, 3 of 10 pairs each; losses 2, 2, 3, 2
    assert settings["best"].difference.value == pytest.approx(8 / 40)
    assert settings["much-worse"].difference.value == pytest.approx(-9 / 40)
    assert settings["much-worse"].indistinguishable is False
    assert ranking.global_difference.value == pytest.approx((6 - 25) / 40)


def test_accuracy_thrift_and_balance_may_be_three_settings(trial):
    trials = [
        full(trial, [8, 8, 8, 8], 100),
        trial("sure", [9, 9, 9, 10], 90),
        trial("bend", [7, 7, 7, 8], 20),
        trial("cheap", [8, 8, 8, 8], 60),
        trial("poor", [1, 1, 1, 1], 5),
    ]
    ranking = rank_country(trials, "Mexico")
    assert {name: s.record.trial_id for name, s in ranking.answers.items()} == {
        "accuracy": "sure",
        "thrift": "cheap",
        "balance": "bend",
    }
    thrifty = rank_country(trials, "Mexico", rule=ChoiceRule(which="thrift"))
    assert thrifty.trained.record.trial_id == "cheap"
    assert thrifty.recommended.record.trial_id == "sure"


def test_plain_fine_tuning_stays_where_nothing_is_surely_better(trial):
    # better by 3 pairs of 40, all of them one user's: it may be luck
    ranking = rank_country(
        [full(trial, [8, 7, 8, 8]), trial("lucky", [8, 10, 8, 8], 90)], "Mexico"
    )
    assert ranking.recommended is ranking.base
    assert ranking.best.record.trial_id == "lucky"
    assert ranking.accuracy == pytest.approx(31 / 40)


def test_the_global_model_is_kept_where_training_loses(trial):
    good = [8, 8, 9, 8]
    trials = [full(trial, [5, 6, 5, 5], glob=good), trial("b", [6, 6, 6, 7], 90, glob=good)]
    ranking = rank_country(trials, "Mexico")
    assert (ranking.base, ranking.recommended, ranking.trained) == (None, None, None)
    assert set(ranking.answers.values()) == {None}
    assert ranking.accuracy == ranking.global_accuracy == pytest.approx(33 / 40)
    assert not any(setting.answers for setting in ranking.settings)


def test_infinite_caution_recommends_plain_fine_tuning(trial):
    trials = [full(trial, [5, 6, 5, 5]), trial("b", [9, 9, 9, 10], 90)]
    ranking = rank_country(trials, "Mexico", rule=ChoiceRule(caution=math.inf))
    assert ranking.recommended is ranking.base


def test_of_two_trials_at_the_corner_the_first_is_the_base(trial):
    other = trial("0-later", [9, 9, 9, 8], 200, full=True)
    ranking = rank_country([other, full(trial, [6, 6, 7, 6])], "Mexico")
    assert ranking.base.record.trial_id == "0-full"
    assert ranking.recommended.record.trial_id == "0-later"  # with another rate, surely better


def test_intervals_agree_with_a_bootstrap_written_as_a_loop(trial, monkeypatch):
    monkeypatch.setattr("scpo.statistics.bootstrap.NUM_RESAMPLES", 400)
    best, other = [9, 6, 8, 7], [5, 8, 8, 6]
    ranking = rank_country([full(trial, best, 100), trial("other", other, 50)], "Mexico")
    rng = np.random.default_rng(0)
    means = []
    gains = sorted(o - b for o, b in zip(other, best, strict=True))
    for counts in draw_users(rng, 400, 4):
        gain = sum(n * gain for n, gain in zip(counts, gains, strict=True))
        means.append(gain / (40))
    figure = by_id(ranking)["other"].difference
    tail = widened_tail(4)
    assert (figure.low, figure.high) == pytest.approx(np.quantile(means, [tail, 1 - tail]))


def test_settings_outside_the_constraint_are_neither_best_nor_recommended(trial):
    ranking = rank_country(
        [trial("broken", [9, 9, 9, 10], 10, drop=0.02), full(trial, [6, 6, 6, 6])], "Mexico"
    )
    settings = by_id(ranking)
    assert ranking.recommended is ranking.best is settings["0-full"]
    assert not settings["broken"].on_front
    assert not settings["broken"].feasible
    assert settings["broken"].violation == 0.02
    assert settings["broken"].difference.value == pytest.approx(13 / 40)
    assert settings["broken"].rank == 2


def test_without_a_feasible_setting_the_global_model_is_kept(trial):
    ranking = rank_country(
        [trial("far", [9, 9, 9, 9], 10, drop=0.2), full(trial, [6, 6, 6, 6], 100, drop=0.03)],
        "Mexico",
    )
    assert (ranking.base, ranking.recommended) == (None, None)
    assert by_id(ranking)["far"].on_front  # of all, since none is feasible
    assert set(ranking.answers.values()) == {None}


def test_only_a_drop_that_is_shown_breaks_the_constraint(records):
    ranking = rank_country(records, "Chile", rule=ChoiceRule(max_consensus_drop=0.0))
    for setting in ranking.settings:
        drop = setting.consensus.drop
        assert setting.feasible == (drop.low == 0.0)
        assert setting.consensus.told == (not setting.feasible or drop.high == 0.0)
        counted = setting.evaluation
        assert drop.value == pytest.approx(1 - counted.consensus.accuracy)
    assert {setting.feasible for setting in ranking.settings} == {True, False}
    allowed = rank_country(records, "Chile", rule=ChoiceRule(max_consensus_drop=1.0))
    assert all(setting.consensus.words == "" for setting in allowed.settings)


def test_a_constraint_of_exactly_zero_is_kept(trial):
    (setting,) = rank_country([trial("edge", [5, 5], 10, drop=0.0)], "Mexico").settings
    assert setting.feasible


def test_one_user_gives_no_interval_and_only_the_best_counts(trial):
    ranking = rank_country([full(trial, [8], 100), trial("cheap", [8], 100)], "Mexico")
    assert [s.non_inferior for s in ranking.settings] == [True, False]
    assert [s.indistinguishable for s in ranking.settings] == [None, None]
    assert [(s.difference.low, s.difference.high) for s in ranking.settings] == [(None, None)] * 2
    assert ranking.recommended.record.trial_id == "0-full"


def test_pruned_and_failed_trials_are_counted_and_not_ranked(trial):
    ranking = rank_country(
        [
            trial("ok", [5, 5], 10),
            trial("pruned", [9, 9], 5, state="pruned"),
            trial("failed", [9, 9], 5, state="failed"),
        ],
        "Mexico",
    )
    assert [s.record.trial_id for s in ranking.settings] == ["ok"]
    assert (ranking.num_failed, ranking.num_pruned) == (1, 1)


def test_a_pruned_trial_with_figures_changes_nothing(trial):
    full = [trial("a", [8, 8, 8, 8], 100), trial("b", [6, 6, 6, 6], 40)]
    better = trial("stopped", [10, 10, 10, 10], 10)
    stopped = better.model_copy(update={"state": "pruned", "rung": 64})
    same = stopped.model_copy(update={"config_hash": "a", "trial_id": "a@64"})
    ranking = rank_country([*full, stopped, same], "Mexico")
    assert ranking.num_pruned == 2
    assert ranking.settings == rank_country(full, "Mexico").settings
    assert ranking.optimism == rank_country(full, "Mexico").optimism


def test_a_trial_that_was_pruned_or_failed_last_is_not_ranked_by_an_older_record(trial):
    first = trial("a", [9, 9], 10)
    last = first.model_copy(update={"state": "pruned", "rung": 64})
    ranking = rank_country([first, last, trial("b", [5, 5], 10)], "Mexico")
    assert [s.record.trial_id for s in ranking.settings] == ["b"]
    again = trial("c", [7, 7], 10)
    failed = again.model_copy(update={"state": "failed", "evaluation": None})
    assert rank_country([failed, again], "Mexico").num_failed == 0  # it was repeated


def test_rungs_are_no_search_trials(trial):
    rung = trial("a@64", [10, 10], 5).model_copy(update={"purpose": "rung", "rung": 64})
    ranking = rank_country([trial("a", [8, 8], 10), rung], "Mexico")
    assert [s.record.trial_id for s in ranking.settings] == ["a"]


def available(record, pairs=100.0):
    return record.model_copy(update={"counts": {"pairs_available": pairs}})


def test_hypervolume_and_knee_of_a_front_by_hand(trial):
    trials = [
        trial("top", [9, 9], 100),
        trial("knee", [8, 8], 30),
        trial("cheap", [6, 6], 10),
        trial("broken", [10, 10], 5, drop=0.1),
    ]
    ranking = rank_country([available(t) for t in trials], "Mexico")
    # against (0.5, 1.1): 0.4 * 0.1 + 0.3 * (1.0 - 0.3) + 0.1 * (0.3 - 0.1)
    assert ranking.hypervolume == pytest.approx(0.04 + 0.21 + 0.02)
    assert ranking.knee.record.trial_id == "knee"
    assert [s.is_knee for s in ranking.settings] == [False, True, False, False]


def test_plain_fine_tuning_alone_has_a_hypervolume_and_no_knee(trial):
    ranking = rank_country([available(trial("full", [8, 8], 100))], "Mexico")
    assert ranking.hypervolume == pytest.approx(0.3 * 0.1)
    assert ranking.knee is None


def test_without_a_feasible_setting_the_hypervolume_is_zero(trial):
    ranking = rank_country([available(trial("a", [8, 8], 50, drop=0.1))], "Mexico")
    assert ranking.hypervolume == 0.0


def test_without_the_pairs_there_were_the_hypervolume_is_not_known(trial):
    assert rank_country([trial("a", [8, 8], 50)], "Mexico").hypervolume is None


def test_the_best_is_the_most_accurate_inside_the_constraint(trial):
    trials = [trial("broken", [9, 9], 10, drop=0.1), trial("good", [6, 6], 100)]
    assert rank_country(trials, "Mexico").best.record.trial_id == "good"
    assert rank_country(trials[:1], "Mexico").best.record.trial_id == "broken"
    failed = rank_country([trial("f", [1], 5, state="failed")], "Mexico")
    assert (failed.best, failed.knee, failed.optimism, failed.hypervolume) == (None,) * 4


def test_a_country_whose_trials_all_failed_has_no_recommendation(trial):
    ranking = rank_country([trial("failed", [9], 5, state="failed")], "Mexico")
    assert ranking.settings == ()
    assert ranking.recommended is None
    assert ranking.num_failed == 1


def test_a_country_without_validation_pairs_has_no_recommendation(trial):
    empty = trial("empty", [], 5).model_copy(update={"objectives": {}})
    ranking = rank_country([empty], "Mexico")
    assert ranking.recommended is None


def test_equal_settings_are_ranked_by_name_whatever_ended_first(trial):
    given = [trial("b", [8, 8], 9), trial("a", [8, 8], 9), trial("c", [8, 8], 5)]
    for records in (given, given[::-1]):
        ranking = rank_country(records, "Mexico")
        assert [s.record.trial_id for s in ranking.settings] == ["c", "a", "b"]


def test_of_two_records_with_one_id_the_last_counts(trial):
    ranking = rank_country([trial("a", [5, 5], 10), trial("a", [6, 6], 20)], "Mexico")
    assert [s.accuracy for s in ranking.settings] == [0.6]


def test_other_users_are_refused_by_trial(trial):
    with pytest.raises(ValueError, match="but trial odd differs from"):
        rank_country([trial("first", [8, 8, 8], 10), trial("odd", [8, 8], 10)], "Mexico")


def test_an_unknown_country_is_refused(trial):
    with pytest.raises(ValueError, match="No search trial of 'Peru'"):
        rank_country([trial("a", [5, 5], 10)], "Peru")


def test_a_missing_objective_is_refused(trial):
    record = trial("a", [5, 5], 10).model_copy(update={"objectives": {}})
    with pytest.raises(ValueError, match="Trial a has no objective `pairs_trained`"):
        rank_country([record], "Mexico")


def test_a_missing_or_foreign_evaluation_is_refused(records, trial):
    bare = trial("a", [5, 5], 10).model_copy(update={"evaluation": None})
    with pytest.raises(ValueError, match="Trial a is complete but has no evaluation"):
        rank_country([bare], "Mexico")
    final = next(r for r in records if r.purpose == "final")
    on_test = trial("b", [5, 5], 10).model_copy(update={"evaluation": final.evaluation})
    with pytest.raises(ValueError, match="must be evaluated on validation users, but trial b"):
        rank_country([on_test], "Mexico")


def test_a_run_is_ranked_country_by_country(run_folder, records):
    rankings = rank_searched(read_records(run_folder), run_folder)
    assert [r.country for r in rankings] == ["Chile", "Mexico", "South Africa"]
    assert [len(r.settings) for r in rankings] == [8, 8, 8]
    assert [r.num_failed for r in rankings] == [1, 0, 0]
    assert rankings == rank_records(records[::-1])  # order plays no part


def test_a_run_without_search_is_refused(tmp_path):
    (tmp_path / "trials.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"No search trial is in .* Run `scpo sweep` first"):
        rank_searched(read_records(tmp_path), tmp_path)
