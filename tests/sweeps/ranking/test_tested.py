"""A test figure stands beside its own setting, or the page says whose it is."""

from sweeps.ledger.records import TrialRecord
from sweeps.ranking.ranking import rank_records
from sweeps.ranking.recommendation import ChoiceRule
from sweeps.ranking.tested import describe_tests, is_stale
from sweeps.report.report_page import render_report


def change_final(records: list[TrialRecord], **update: object) -> list[TrialRecord]:
    return [
        record.model_copy(update=update)
        if (record.purpose, record.arm, record.country) == ("final", "scpo_tuned", "Chile")
        else record
        for record in records
    ]


def test_a_final_of_the_recommended_setting_needs_no_word(records: list[TrialRecord]) -> None:
    rankings = rank_records(records)
    assert not any(is_stale(records, ranking) for ranking in rankings)
    assert describe_tests(records, rankings) == {}


def test_a_final_of_another_setting_is_told_as_stale(records: list[TrialRecord]) -> None:
    config = next(r for r in records if r.arm == "scpo_tuned" and r.purpose == "final").config
    for name, value in (("retention", 0.9), ("strength", 2.9), ("learning_rate", 1e-9)):
        stale = change_final(records, config={**config, name: value})
        rankings = rank_records(stale)
        assert [ranking.country for ranking in rankings if is_stale(stale, ranking)] == ["Chile"]
        notes = describe_tests(stale, rankings)
        assert "recommended before" in notes["Chile"]
        assert notes["pooled"].endswith("recommended before: Chile.")
    page = render_report(stale, name="x", config=None)
    assert "All countries pooled" not in page.split("Gain of the chosen setting")[1][:2000]
    assert page.count("Not tested yet") == 1
    assert page.count("not tested yet") == 1


def test_a_kept_global_model_and_a_trained_one_are_not_the_same(
    records: list[TrialRecord],
) -> None:
    final = next(r for r in records if r.arm == "scpo_tuned" and r.purpose == "final")
    kept = change_final(records, config={**final.config, "retention": 0.0})
    rankings = rank_records(kept)
    assert [ranking.country for ranking in rankings if is_stale(kept, ranking)] == ["Chile"]
    mexico = next(ranking for ranking in rankings if ranking.country == "Mexico")
    assert mexico.settings  # whose search keeps the global model
    assert mexico.trained is None
    assert not is_stale(kept, mexico)


def test_a_test_figure_of_another_answer_does_not_stand_beside_the_recommended_one(
    records: list[TrialRecord],
) -> None:
    page = render_report(records, name="x", config=None, rule=ChoiceRule(which="thrift"))
    assert "Trained and tested is the answer by thrift: " in page
    assert "not tested: the answer by thrift is" in page


def test_looks_at_test_users_before_are_told(records: list[TrialRecord]) -> None:
    again = change_final(records, tested_before=2)
    assert "judged 2 other settings before" in describe_tests(again, rank_records(again))["Chile"]


def test_one_country_is_told_alone_and_one_look_in_the_singular(
    records: list[TrialRecord],
) -> None:
    once = change_final(records, tested_before=1)
    assert "judged 1 other setting before" in describe_tests(once, rank_records(once))["Chile"]
    final = next(r for r in records if r.arm == "scpo_tuned" and r.purpose == "final")
    stale = change_final(records, config={**final.config, "retention": 0.9})
    chile = [ranking for ranking in rank_records(stale) if ranking.country == "Chile"]
    assert list(describe_tests(stale, chile)) == ["Chile"]


def test_a_final_of_whole_weights_is_not_of_another_setting(records: list[TrialRecord]) -> None:
    final = next(r for r in records if r.arm == "scpo_tuned" and r.purpose == "final")
    for rank in (0, 8):  # the search has none
        config = {**final.config, "learning_rate": 1e-9, "lora_rank": rank}
        changed = change_final(records, config=config)
        [chile] = [one for one in rank_records(changed) if one.country == "Chile"]
        assert not is_stale(changed, chile)
