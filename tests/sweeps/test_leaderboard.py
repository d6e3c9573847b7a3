import csv
import io

from rich.console import Console

from sweeps.leaderboard import COLUMNS, describe, leaderboard_table, write_leaderboard
from sweeps.ranking import rank_country, rank_records


def printed(table) -> str:
    console = Console(width=220, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_recommendation_in_words(trial):
    ranking = rank_country(
        [trial("best", [8, 8, 8, 8], 200), trial("bad", [4, 4, 4, 4], 90)], "Mexico"
    )
    assert describe(ranking) == (
        "Mexico: 41 % of the pairs (tau 0.62), strength 1.2 (beta 0.9), 80.0 % on 40 validation "
        "pairs of 4 users; 1 of 2 settings are non-inferior to the best (margin 1.0 points), "
        "1 cannot be told apart from it."
    )


def test_one_user_is_said(trial):
    words = describe(rank_country([trial("only", [8], 200)], "Mexico"))
    assert "on 10 validation pairs of 1 user. One user gives no interval" in words


def test_a_broken_constraint_is_said(trial):
    words = describe(rank_country([trial("only", [8, 8], 200, drop=0.034)], "Mexico"))
    assert "None of the 1 settings keeps the constraint; this one breaks it least" in words
    assert "by 3.4 points" in words


def test_only_feasible_settings_are_counted(trial):
    trials = [trial("a", [8, 8], 9), trial("b", [8, 8], 9, drop=0.1)]
    assert "1 of 1 feasible settings" in describe(rank_country(trials, "Mexico"))


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
    rankings = rank_records(records, num_resamples=200)
    path = tmp_path / "leaderboard.csv"
    write_leaderboard(rankings, path)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
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


def test_table_has_fronts_recommendations_and_failures(records, trial):
    failed = trial("f", [1], 5, state="failed", country="[red]Peru[/red]")
    rankings = rank_records([*records, failed], num_resamples=200)
    text = printed(leaderboard_table(rankings))
    shown = sum(s.on_front or s.recommended for r in rankings for s in r.settings)
    assert text.count(" % of the pairs") == shown
    assert text.count("recommended") == 3
    assert "[red]Peru[/red]" in text
    assert "none: 1 trials failed" in text


def test_table_says_what_breaks_the_constraint(trial):
    ranking = rank_country([trial("a", [8, 8], 9, drop=0.05)], "Mexico")
    assert "recommended, breaks the constraint by 5.0" in printed(leaderboard_table([ranking]))
