import csv
import io

import pytest

from scpo.text.terminal import TextConsole
from sweeps.ranking.ranking import rank_country, rank_records
from sweeps.report.leaderboard import (
    describe,
    describe_evidence,
    describe_front,
    describe_optimism,
    leaderboard_table,
    write_leaderboard,
)


def printed(table) -> str:
    console = TextConsole(width=220, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_recommendation_in_words(trial):
    ranking = rank_country(
        [trial("best", [8, 8, 8, 8], 200), trial("bad", [4, 4, 4, 4], 90)], "Mexico"
    )
    assert describe(ranking) == (
        "Mexico: 41 % of the pairs (tau 0.62), strength 1.2 (beta 0.9), 80.0 % on 40 validation "
        "pairs; 1 of 2 settings is non-inferior to the best (margin 1.0 points), 1 cannot be told "
        "apart from it with 4 users. Selection bias: none found on resamples of the users. "
        "Front of 2 settings."
    )


def test_the_example_of_many_settings_in_words(trial):
    trials = [trial(f"t{n}", [8, 8, 7, 6 + n % 3], 100 + n) for n in range(6)]
    words = describe_evidence(rank_country(trials, "Mexico", margin=0.3))
    assert "6 of 6 settings are non-inferior to the best (margin 30.0 points)" in words


def test_selection_bias_is_said(trial):
    ranking = rank_country([trial("a", [10, 0], 10), trial("b", [0, 10], 10)], "Mexico")
    expected = 100 * (0.5 - ranking.optimism)
    assert describe_optimism(ranking) == (
        f"Selection bias: about {100 * ranking.optimism:.1f} points; "
        f"expect {expected:.1f} % on other users."
    )
    assert describe_optimism(rank_country([trial("a", [8], 10)], "Mexico")) == ""


def test_front_knee_and_hypervolume_are_said(trial):
    trials = [trial("top", [9, 9], 100), trial("knee", [8, 8], 30), trial("low", [6, 6], 10)]
    known = [t.model_copy(update={"counts": {"pairs_available": 100.0}}) for t in trials]
    assert describe_front(rank_country(known, "Mexico")) == (
        "Front of 3 settings, knee at 30 pairs (80.0 %), hypervolume 0.270 (accuracy x share of "
        "the pairs, up to 50 % with 110 % of the pairs)."
    )
    assert describe_front(rank_country(trials[:1], "Mexico")) == "Front of 1 setting."
    assert "knee" in printed(leaderboard_table([rank_country(known, "Mexico")]))


def test_one_user_is_said(trial):
    words = describe(rank_country([trial("only", [8], 200)], "Mexico"))
    assert "on 10 validation pairs of 1 user. One user gives no interval" in words


def test_a_broken_constraint_is_said(trial):
    words = describe(rank_country([trial("only", [8, 8], 200, drop=0.034)], "Mexico"))
    assert "None of the 1 settings keeps the constraint; this one breaks it least" in words
    assert "by 3.4 points" in words


def test_only_feasible_settings_are_counted(trial):
    trials = [trial("a", [8, 8], 9), trial("b", [8, 8], 9, drop=0.1)]
    assert "1 of 1 feasible settings is non-inferior" in describe(rank_country(trials, "Mexico"))


def test_a_country_without_result_is_said(trial):
    words = describe(rank_country([trial("a", [8], 9, state="failed")], "Mexico"))
    assert words.startswith("Mexico: no setting to recommend")
    assert "(1 failed, 0 pruned)" in words


def test_plain_fine_tuning_and_missing_settings_in_words(trial):
    record = trial("a", [8, 8], 30)
    plain = record.model_copy(update={"config": {}, "setting": {"tau": 1.0, "beta": None}})
    assert "Mexico: 30 pairs, no weighting, " in describe(rank_country([plain], "Mexico"))
    paper = record.model_copy(update={"config": {}, "setting": {"tau": 0.7, "beta": 1.1}})
    assert "30 pairs (tau 0.7), beta 1.1, " in describe(rank_country([paper], "Mexico"))


def test_csv_has_every_setting_and_empty_cells(tmp_path, records):
    rankings = rank_records(records)
    path = tmp_path / "leaderboard.csv"
    write_leaderboard(rankings, path)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert list(rows[0])[:3] == ["country", "rank", "trial_id"]
    assert len(rows) == 24
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
    rankings = rank_records([*records, failed])
    text = printed(leaderboard_table(rankings))
    shown = sum(s.on_front or s.recommended for r in rankings for s in r.settings)
    assert text.count(" % of the pairs") == shown
    assert text.count("recommended") == 3
    assert "[red]Peru[/red]" in text
    assert "none: 1 trials failed" in text


def test_table_says_what_breaks_the_constraint(trial):
    ranking = rank_country([trial("a", [8, 8], 9, drop=0.05)], "Mexico")
    assert "recommended, breaks the constraint by 5.0" in printed(leaderboard_table([ranking]))
