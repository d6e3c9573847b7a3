import numpy as np
import pytest

from scpo.statistics.bootstrap import Interval, draw_users, widened_tail
from sweeps.ranking.ranking import rank_country, rank_records, rank_run


def by_id(ranking):
    return {setting.record.trial_id: setting for setting in ranking.settings}


def test_order_front_and_recommendation_by_hand(trial):
    ranking = rank_country(
        [
            trial("best", [8, 8, 8, 8], 200),
            trial("same-cheaper", [8, 8, 8, 8], 150),  # as good for every user: the best, cheap
            trial("much-worse", [4, 4, 4, 4], 50),
            trial("dominated", [4, 4, 4, 3], 60),
        ],
        "Mexico",
    )
    settings = by_id(ranking)
    assert [s.record.trial_id for s in ranking.settings] == [
        "same-cheaper",
        "best",
        "much-worse",
        "dominated",
    ]
    assert [s.rank for s in ranking.settings] == [1, 2, 3, 4]
    assert {name for name, s in settings.items() if s.on_front} == {"same-cheaper", "much-worse"}
    assert [s.record.trial_id for s in ranking.front] == ["much-worse", "same-cheaper"]
    assert ranking.recommended.record.trial_id == "same-cheaper"
    assert settings["best"].non_inferior
    assert settings["best"].indistinguishable
    # every user loses 4 of 10 pairs: the difference is -0.4 whoever is drawn
    worse = settings["much-worse"]
    assert worse.difference == Interval(*[pytest.approx(-0.4)] * 3, 4)
    assert not worse.non_inferior
    assert worse.indistinguishable is False


def test_a_cheaper_setting_within_the_margin_is_recommended(trial):
    # one user of four loses one of ten pairs: at worst all draws are that user, -0.1
    trials = [trial("best", [8, 8, 8, 8], 200), trial("cheap", [8, 8, 8, 7], 90)]
    assert rank_country(trials, "Mexico", margin=0.11).recommended.record.trial_id == "cheap"
    assert rank_country(trials, "Mexico", margin=0.01).recommended.record.trial_id == "best"


def test_without_a_margin_only_the_best_counts(trial):
    trials = [trial("best", [8, 8], 200), trial("cheap", [8, 7], 90)]
    assert rank_country(trials, "Mexico", margin=0.0).recommended.record.trial_id == "best"


def test_equally_cheap_settings_go_by_accuracy(trial):
    trials = [trial("low", [8, 8, 8, 7], 90), trial("high", [8, 8, 8, 8], 90)]
    assert rank_country(trials, "Mexico", margin=0.2).recommended.record.trial_id == "high"


def test_intervals_agree_with_a_bootstrap_written_as_a_loop(trial, monkeypatch):
    monkeypatch.setattr("scpo.statistics.bootstrap.NUM_RESAMPLES", 400)
    best, other = [9, 6, 8, 7], [5, 8, 8, 6]
    ranking = rank_country(
        [trial("best", best, 100), trial("other", other, 50)],
        "Mexico",
    )
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
        [trial("broken", [9, 9, 9, 9], 10, drop=0.02), trial("good", [6, 6, 6, 6], 100)], "Mexico"
    )
    settings = by_id(ranking)
    assert ranking.recommended is settings["good"]
    assert not settings["broken"].on_front
    assert not settings["broken"].feasible
    assert settings["broken"].violation == 0.02
    assert settings["broken"].difference.value == pytest.approx(
        0.3
    )  # against the best feasible one
    assert settings["broken"].rank == 2


def test_without_a_feasible_setting_the_smallest_violation_is_recommended(trial):
    ranking = rank_country(
        [trial("far", [9, 9, 9, 9], 10, drop=0.2), trial("near", [6, 6, 6, 6], 100, drop=0.03)],
        "Mexico",
    )
    settings = by_id(ranking)
    assert ranking.recommended is settings["near"]
    assert settings["far"].on_front  # of all, since none is feasible
    assert not settings["near"].on_front
    assert settings["far"].non_inferior  # the most accurate is the one compared with
    assert settings["near"].difference.value == pytest.approx(-0.3)


def test_a_constraint_of_exactly_zero_is_kept(trial):
    (setting,) = rank_country([trial("edge", [5, 5], 10, drop=0.0)], "Mexico").settings
    assert setting.feasible


def test_one_user_gives_no_interval_and_only_the_best_counts(trial):
    ranking = rank_country([trial("best", [8], 100), trial("cheap", [8], 100)], "Mexico")
    assert [s.non_inferior for s in ranking.settings] == [True, False]
    assert [s.indistinguishable for s in ranking.settings] == [None, None]
    assert [(s.difference.low, s.difference.high) for s in ranking.settings] == [(None, None)] * 2
    assert ranking.recommended.record.trial_id == "best"


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


def test_of_two_records_with_one_id_the_last_counts(trial):
    ranking = rank_country([trial("a", [5, 5], 10), trial("a", [6, 6], 20)], "Mexico")
    assert [s.accuracy for s in ranking.settings] == [0.6]


def test_other_users_are_refused_by_trial(trial):
    with pytest.raises(ValueError, match="but trial odd differs from"):
        rank_country([trial("first", [8, 8, 8], 10), trial("odd", [8, 8], 10)], "Mexico")


@pytest.mark.parametrize("margin", [1.0, -0.1, float("nan")])
def test_margin_outside_its_range_is_refused(margin, trial):
    with pytest.raises(ValueError, match="`0 <= margin < 1` must hold, but got margin="):
        rank_country([trial("a", [5, 5], 10)], "Mexico", margin=margin)


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
    rankings = rank_run(run_folder)
    assert [r.country for r in rankings] == ["Chile", "Mexico", "South Africa"]
    assert [len(r.settings) for r in rankings] == [8, 8, 8]
    assert [r.num_failed for r in rankings] == [1, 0, 0]
    assert rankings == rank_records(records[::-1])  # order plays no part


def test_a_run_without_search_is_refused(tmp_path):
    (tmp_path / "trials.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"No search trial is in .* Run `scpo sweep` first"):
        rank_run(tmp_path)
    with pytest.raises(FileNotFoundError, match="No ledger at"):
        rank_run(tmp_path / "absent")
