import csv
import io

import pytest

from scpo.text.terminal import TextConsole
from sweeps.ranking.ranking import rank_country, rank_records
from sweeps.ranking.recommendation import ChoiceRule
from sweeps.report.leaderboard import (
    describe,
    describe_front,
    describe_optimism,
    leaderboard_table,
    write_leaderboard,
)


def printed(table) -> str:
    console = TextConsole(width=220, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def full(trial, correct, pairs_trained=200, **more):
    return trial("0-full", correct, pairs_trained, full=True, **more)


def test_a_sure_gain_in_words(trial):
    ranking = rank_country([full(trial, [6, 6, 6, 7]), trial("best", [8, 8, 9, 8], 90)], "Mexico")
    words = describe(ranking)
    assert words.startswith(
        "Mexico: 41 % of the pairs (tau 0.62), strength 1.2 (beta 0.9). 82.5 % on 40 validation "
        "pairs of 4 users; its gain on plain fine-tuning, +20.0 ("
    )
    assert "is the surest of all." in words
    assert " Thrift: the same. Balance: the same." in words
    assert "Front of 1 setting." in words


def test_plain_fine_tuning_is_said_first(trial):
    ranking = rank_country([full(trial, [8, 8, 8, 8]), trial("bad", [4, 4, 4, 5], 90)], "Mexico")
    assert describe(ranking).startswith(
        "Mexico: plain fine-tuning: 100 % of the pairs (tau 0.62), strength 0 (beta 0.9). 80.0 % "
        "on 40 validation pairs of 4 users; no setting is shown to gain on plain fine-tuning "
        "(lower bound, caution 1.645)."
    )


def test_keep_the_global_model_is_said_first(trial):
    good = [8, 8, 9, 8]
    trials = [full(trial, [5, 6, 5, 5], glob=good), trial("b", [6, 6, 6, 7], 90, glob=good)]
    words = describe(rank_country(trials, "Mexico"))
    assert words.startswith("Mexico: keep the global model. 82.5 % on 40 validation pairs of 4 ")
    assert "which is shown to be above plain fine-tuning" in words
    words = describe(rank_country(trials[1:], "Mexico"))
    assert "no setting is shown to gain on the global model" in words
    assert "plain fine-tuning was not tried" in words


def test_the_answer_that_is_trained_is_named(trial):
    trials = [full(trial, [8, 8, 8, 8]), trial("cheap", [8, 8, 8, 8], 90)]
    rule = ChoiceRule(which="thrift")
    words = describe(rank_country(trials, "Mexico", rule=rule))
    assert "Thrift: 41 % of the pairs (tau 0.62), strength 1.2 (beta 0.9) (+0.0" in words
    assert "Trained and tested is the answer by thrift." in words


def test_gain_and_loss_by_layer_are_said(records):
    words = describe(rank_country(records, "South Africa"))
    assert "right in 47.4 % of the 19 pairs that the global model gets wrong, and" in words
    assert "and loses 9.4 % (0.0-26.3) of the 32 that it gets right." in words
    assert "Whether it keeps the consensus cannot be told." in words
    strict = rank_country(records, "Chile", rule=ChoiceRule(max_consensus_drop=0.0))
    broken = sum(not setting.feasible for setting in strict.settings)
    assert broken > 0
    assert f"{broken} of 8 settings are shown to break the constraint." in describe(strict)


def test_selection_bias_is_said(trial):
    trials = [full(trial, [7, 5, 5, 7]), trial("b", [10, 8, 8, 5], 10), trial("c", [8] * 4, 9)]
    ranking = rank_country(trials, "Mexico", rule=ChoiceRule(caution=0.1))
    expected = 100 * (ranking.accuracy - ranking.optimism)
    assert describe_optimism(ranking) == (
        f"Selection bias: about {100 * ranking.optimism:.1f} points; "
        f"expect {expected:.1f} % on other users."
    )
    assert describe_optimism(rank_country([trial("a", [8], 10)], "Mexico")) == ""


def test_front_knee_and_hypervolume_are_said(trial):
    trials = [trial("top", [9, 9], 100), trial("knee", [8, 8], 30), trial("low", [6, 6], 10)]
    known = [t.model_copy(update={"counts": {"pairs_available": 100.0}}) for t in trials]
    assert describe_front(rank_country(known, "Mexico")) == (
        "Front of 3 settings, knee at 30 pairs (80.0 %), hypervolume 0.270 (accuracy above "
        "50 % x share of the pairs under 110 %)."
    )
    assert describe_front(rank_country(trials[:1], "Mexico")) == "Front of 1 setting."
    assert "knee" in printed(leaderboard_table([rank_country(known, "Mexico")]))


def test_one_user_is_said(trial):
    words = describe(rank_country([trial("only", [8], 200)], "Mexico"))
    assert "on 10 validation pairs of 1 user. One user shows no difference" in words


def test_a_broken_constraint_is_said(trial):
    words = describe(rank_country([full(trial, [8, 8], drop=0.034)], "Mexico"))
    assert words.startswith("Mexico: keep the global model.")
    assert "and plain fine-tuning breaks the constraint" in words
    assert "1 of 1 settings are shown to break the constraint." in words


def test_a_country_without_result_is_said(trial):
    words = describe(rank_country([trial("a", [8], 9, state="failed")], "Mexico"))
    assert words.startswith("Mexico: no setting to recommend")
    assert "(1 failed, 0 pruned)" in words


def test_settings_with_missing_numbers_in_words(trial):
    record = trial("a", [8, 8], 30)
    plain = record.model_copy(update={"config": {}, "setting": {"tau": 1.0, "beta": None}})
    assert "Mexico: 30 pairs, no weighting. " in describe(rank_country([plain], "Mexico"))
    paper = record.model_copy(update={"config": {}, "setting": {"tau": 0.7, "beta": 1.1}})
    assert "30 pairs (tau 0.7), beta 1.1. " in describe(rank_country([paper], "Mexico"))


def test_csv_has_every_setting_and_empty_cells(tmp_path, records):
    rankings = rank_records(records)
    path = tmp_path / "leaderboard.csv"
    write_leaderboard(rankings, path)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert list(rows[0])[:3] == ["country", "rank", "trial_id"]
    assert len(rows) == 24 + 3  # the global model of each country too
    kept = next(row for row in rows if (row["country"], row["trial_id"]) == ("Mexico", "global"))
    assert (kept["answers"], kept["base"]) == ("accuracy thrift", "true")
    assert kept["pairs_trained"] == "0"
    assert sum(row["recommended"] == "true" for row in rows) == 3
    last = next(row for row in rows if row["trial_id"] == "search-Mexico-7")
    assert last["beta"] == ""
    assert last["retention"] == "1"
    assert last["pairs_trained"] == last["pairs_available"] == "160"
    setting = next(s for s in rankings[1].settings if s.record.trial_id == "search-Mexico-7")
    assert float(last["accuracy"]) == round(setting.accuracy, 6)
    assert last["feasible"] == "true"
    assert last["seed"] == "7"
    assert float(last["hypervolume"]) == pytest.approx(rankings[1].hypervolume, abs=1e-6)
    assert sum(row["optimism"] != "" for row in rows) == 3
    assert sum(row["knee"] == "true" for row in rows) == sum(r.knee is not None for r in rankings)


def test_table_has_fronts_recommendations_and_failures(records, trial):
    failed = trial("f", [1], 5, state="failed", country="[red]Peru[/red]")
    pruned = trial("p", [1], 5, state="pruned", country="[red]Peru[/red]")
    rankings = rank_records([*records, failed, pruned])
    text = printed(leaderboard_table(rankings))
    shown = sum(bool(s.on_front or s.answers or s.is_base) for r in rankings for s in r.settings)
    assert text.count(" % of the pairs") == shown
    assert text.count("the global model") == text.count("accuracy, thrift") + 1 == 3
    assert "[red]Peru[/red]" in text
    assert "none: 1 failed, 1 pruned" in text


def test_table_says_what_breaks_the_constraint(trial):
    ranking = rank_country([trial("a", [8, 8], 9, drop=0.05)], "Mexico")
    assert "breaks the constraint by 5.0" in printed(leaderboard_table([ranking]))
