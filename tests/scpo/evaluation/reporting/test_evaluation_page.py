import re

from scpo.evaluation.reporting.evaluation_page import evaluation_page, write_evaluation_page
from scpo.evaluation.tables import evaluate_models
from scpo.statistics.bootstrap import read_interval
from scpo.statistics.wording import format_difference


def test_the_page_holds_every_arm_and_each_country_s_gain(tmp_path, scored_countries):
    tables = evaluate_models(scored_countries(("Chile", "South Africa"), arms=("scpo",)))
    html = write_evaluation_page(tables, tmp_path, part="test").read_text()
    titles = re.findall(r"<h2[^>]*>([^<]+)</h2>", html)
    assert titles == [
        "Arms",
        "Every model on every country",
        "Steering weight",
        "Calibration",
        "What length explains",
    ]
    gain = next(
        row
        for row in tables["paired"]
        if (row["country"], row["arm"], row["layer"]) == ("Chile", "scpo", "overall")
    )
    words = format_difference(read_interval(gain, "difference"))
    assert f'aria-label="Chile, scpo: {words}"' in html
    assert html.count("<tr") > 2 * len({(r["country"], r["arm"]) for r in tables["accuracy"]})


def test_few_users_are_told_once(scored_countries):
    tables = evaluate_models(scored_countries(("Chile", "Peru"), arms=("scpo",)))
    for row in tables["accuracy"]:
        row["users"] = 3
    html = evaluation_page(tables, name="e", part="test")
    assert html.count('<p class="warning">Few users (Chile 3, Peru 3):') == 1


def test_users_without_distinctive_pairs_judge_all_the_same(scored_countries):
    tables = evaluate_models(scored_countries(("Chile",), arms=("scpo",)))
    for row in tables["accuracy"]:
        row["users"] = 3 if row["layer"] == "distinctive" else 12
    assert '<p class="warning">' not in evaluation_page(tables, name="e", part="test")
