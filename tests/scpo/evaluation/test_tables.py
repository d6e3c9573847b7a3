"""Tables of an evaluation: every figure agrees with the function it comes from."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scpo.choices import POOLED
from scpo.evaluation.panels import build_panels
from scpo.evaluation.reporting.terminal import evaluation_tables
from scpo.evaluation.steering import mix_margins, preferred_weight
from scpo.evaluation.tables import evaluate_models
from scpo.statistics.accuracy import pair_accuracy
from scpo.statistics.bootstrap import read_interval
from scpo.statistics.calibration import calibration
from scpo.statistics.length_bias import length_share
from scpo.statistics.paired import paired_differences
from scpo.statistics.wording import format_accuracy
from tests.scpo.evaluation.pairs_file import read_pairs

COUNTRIES = ("Chile", "Peru", "Kenya")

pytestmark = pytest.mark.usefixtures("few_resamples")


@pytest.fixture(scope="module")
def scores(scored_countries):
    return scored_countries(COUNTRIES)


@pytest.fixture(scope="module")
def tables(scores, few_resamples):
    return evaluate_models(scores)


def find(rows, **keys):
    (row,) = [row for row in rows if all(row[key] == value for key, value in keys.items())]
    return row


def test_accuracy_is_that_of_own_models_and_of_all_pooled(scores, tables):
    panels = {panel.country: panel for panel in build_panels([s.in_part("test") for s in scores])}
    assert list(panels) == [POOLED, *COUNTRIES]
    for country, panel in panels.items():
        for arm in ("global", "full", "scpo", "length"):
            expected = pair_accuracy(panel.margins[arm], panel.user)
            row = find(tables["accuracy"], country=country, arm=arm, layer="overall")
            assert row["accuracy"] == expected.interval.value
            assert (row["pairs"], row["users"]) == (expected.pairs, expected.interval.users)
    pooled = find(tables["accuracy"], country=POOLED, arm="scpo", layer="overall")
    assert (pooled["pairs"], pooled["users"]) == (3 * 54, 18)  # users of like names stay apart
    own = [s.in_part("test").margin(f"{s.country}/scpo")[:, None] > 0 for s in scores]
    assert pooled["accuracy"] == np.mean(np.concatenate(own))


def test_pairs_are_compared_with_each_baseline_in_each_layer(scores, tables):
    test = scores[1].in_part("test")
    distinctive = test.reference_margin < 0
    row = find(tables["paired"], country="Peru", arm="scpo", baseline="full", layer="distinctive")
    expected = paired_differences(
        {"m": test.margin("Peru/scpo")[distinctive]},
        test.margin("Peru/full")[distinctive],
        test.user[distinctive],
    )["m"]
    assert row["difference"] == expected.bootstrap.value
    assert (row["low"], row["high"]) == (expected.bootstrap.low, expected.bootstrap.high)
    assert row["mcnemar_exact_p"] == expected.mcnemar.exact_p
    baselines = {(r["baseline"], r["arm"]) for r in tables["paired"]}
    assert ("global", "global") not in baselines
    assert {("global", "length"), ("length", "scpo"), ("full", "global")} <= baselines


def test_further_tables_hold_what_their_functions_give(scores, tables):
    test = scores[0].in_part("test")
    row = find(tables["calibration"], country="Chile", arm="full")
    assert row["brier"] == calibration(test.margin("Chile/full"))["brier"]
    assert {r["arm"] for r in tables["calibration"]} == {"global", "full", "scpo"}
    row = find(tables["length_share"], country="Chile", arm="scpo")
    expected = length_share(
        test.margin("Chile/scpo"),
        test.margin("global"),
        test.length_difference,
        test.user,
    )
    assert (row["gain"], row["length_part"]) == (expected["gain"], expected["length_part"])
    deciles = [
        r for r in tables["length_deciles"] if (r["country"], r["arm"]) == ("Peru", "length")
    ]
    assert sum(r["pairs"] for r in deciles) == 54
    assert len(tables["matrix"]) == 3 * 8
    assert {row["model"] for row in tables["worst"] if row["own"]} == {"full", "scpo"}
    assert {row["arm"] for row in tables["movement"]} == {"global", "full", "scpo", "length"}


def test_the_knob_is_chosen_on_validation_and_judged_on_test(scores, tables):
    for each in scores:
        label = f"{each.country}/scpo"
        chosen_on, judged_on = each.in_part("validation"), each.in_part("test")
        share = preferred_weight(chosen_on.margin("global"), chosen_on.margin(label))
        row = find(tables["knob_choice"], country=each.country, arm="scpo")
        mixed = mix_margins(
            {"g": judged_on.margin("global"), "c": judged_on.margin(label)},
            {"g": 1 - share, "c": share},
        )
        assert row["share"] == share
        assert row["accuracy"] == pair_accuracy(mixed, judged_on.user).interval.value
        whole = pair_accuracy(judged_on.margin(label), judged_on.user).interval.value
        assert row["against_whole"] == pytest.approx(row["accuracy"] - whole)
        assert row["pairs_chosen_on"] == len(chosen_on)
    pooled = find(tables["knob_choice"], country=POOLED, arm="scpo")
    mine = [
        row for row in tables["knob_choice"] if row["arm"] == "scpo" and row["country"] != POOLED
    ]
    assert pooled["share"] is None
    assert pooled["accuracy"] == pytest.approx(np.mean([row["accuracy"] for row in mine]))
    parts = {row["part"] for row in tables["knob"]}
    assert parts == {"test", "validation"}
    ends = find(
        tables["knob"], country="Peru", arm="scpo", part="test", share=1.0, layer="overall"
    )
    own = find(tables["accuracy"], country="Peru", arm="scpo", layer="overall")
    assert (ends["accuracy"], ends["low"]) == (own["accuracy"], own["low"])


def test_mixtures_with_and_without_the_own_country(scores, tables):
    test = scores[2].in_part("test")
    labels = ["Chile/full", "Peru/full"]
    mean = sum(test.margin(label) for label in labels) / 2
    row = find(
        tables["mixtures"],
        country="Kenya",
        arm="full",
        mixture="other countries",
        layer="overall",
    )
    assert row["accuracy"] == np.mean(mean > 0)
    assert {r["mixture"] for r in tables["mixtures"]} == {"all countries", "other countries"}


def test_files_hold_the_tables_and_every_reward(scores, tmp_path):
    tables = evaluate_models(scores, tmp_path, about={"models": {"a": "b"}})
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["tables"] == tables
    assert (written["part"], written["models"]) == ("test", {"a": "b"})
    assert {"versions", "commit", "time", "seed", "num_resamples"} <= written.keys()
    for name, rows in tables.items():
        with (tmp_path / f"{name}.csv").open() as handle:
            read = list(csv.DictReader(handle))
        assert len(read) == len(rows)
        assert list(read[0]) == list(rows[0])
    assert evaluate_models(read_pairs(tmp_path / "pairs.parquet")) == tables


def test_without_validation_pairs_nothing_is_chosen(scores, tmp_path):
    test_only = [each.in_part("test") for each in scores]
    evaluate_models(scores, tmp_path)
    assert (tmp_path / "knob_choice.csv").exists()
    tables = evaluate_models(test_only, tmp_path)
    assert tables["knob_choice"] == []
    assert {row["part"] for row in tables["knob"]} == {"test"}
    assert not (tmp_path / "knob_choice.csv").exists()


def test_one_country_with_a_model_for_all(scored_countries):
    (only,) = scored_countries(("Chile",), arms=("scpo",))
    rewards = {"global": only.rewards["global"], "full": only.rewards["Chile/scpo"]}
    tables = evaluate_models([replace(only, rewards=rewards)])
    assert {row["country"] for row in tables["accuracy"]} == {"Chile"}
    assert {row["arm"] for row in tables["accuracy"]} == {"global", "full"}
    assert tables["mixtures"] == []
    assert len(evaluation_tables(tables)) == 2  # no country's model, so no matrix


def test_an_arm_that_a_country_lacks_is_not_pooled(scores):
    fewer = {k: v for k, v in scores[0].rewards.items() if k != "Chile/full"}
    panels = build_panels([replace(scores[0], rewards=fewer), scores[1]])
    assert list(panels[0].margins) == ["global", "scpo", "length"]
    assert "full" in panels[2].margins


def test_what_does_not_fit_is_refused(scores):
    with pytest.raises(ValueError, match=r"Each country must come once, and one at least"):
        evaluate_models([scores[0], scores[0]])
    with pytest.raises(ValueError, match=r"Each country must come once, and one at least"):
        evaluate_models([])
    with pytest.raises(ValueError, match="there must be pairs of train users"):
        evaluate_models(scores, part="train")
    without = {k: v for k, v in scores[0].rewards.items() if k != "global"}
    with pytest.raises(ValueError, match="rewards of the model 'global' must be given"):
        evaluate_models([replace(scores[0], rewards=without)])


def test_tables_for_people(tables):
    found = evaluation_tables(tables)
    titles = [str(table.title) for table in found]
    assert titles == [
        "Held-out users: accuracy in %, differences in points, 95 % intervals by user",
        "Every model on every country",
        "(1 - s) global + s country, s from validation",
    ]
    assert found[0].row_count == 4 * 4
    heads = [str(text) for text in found[0].columns[0].cells][:4]
    rows = [row for row in tables["accuracy"] if row["country"] == POOLED]
    assert heads == [POOLED, f"{rows[0]['pairs']} pairs", f"{rows[0]['users']} users", ""]
    shown = next(iter(found[0].columns[2].cells))
    figure = read_interval(rows[0], "accuracy")
    assert str(shown) == format_accuracy(figure, unit="")
    assert found[1].row_count == 8
    assert found[2].row_count == 2 * 4


def test_survey_questions_are_called_questions(scores):
    asked = [replace(each, unit="question") for each in scores]
    tables = evaluate_models(asked)
    assert {row["unit"] for row in tables["accuracy"]} == {"question"}
    table = evaluation_tables(tables)[0]
    pooled = find(tables["accuracy"], country=POOLED, arm="global", layer="overall")
    assert str(table.title).startswith("Held-out questions: ")
    assert str(table.title).endswith("by question")
    assert f"{pooled['users']} questions" in [str(text) for text in table.columns[0].cells]
    mixed = [asked[0], scores[1]]
    units = {row["country"]: row["unit"] for row in evaluate_models(mixed)["accuracy"]}
    assert units == {POOLED: "user", mixed[0].country: "question", mixed[1].country: "user"}


def test_the_page_describes_every_column(tables):
    page = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text()
    for name, rows in tables.items():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{name}.csv` |")]
        described = re.findall(r"`(\w+)`", line.partition("|")[2].partition("|")[2])
        assert set(described) >= {key for row in rows for key in row} - COMMON, name


COMMON = {"country", "arm", "layer", "low", "high", "pairs", "users"}
