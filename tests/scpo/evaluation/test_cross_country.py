from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from scpo.evaluation.cross_country import country_matrix, movements, worst_countries
from scpo.statistics.accuracy import pair_accuracy
from scpo.statistics.paired import paired_differences

pytestmark = pytest.mark.usefixtures("few_resamples")


@pytest.fixture
def scores(scored_countries):
    return [each.in_part("test") for each in scored_countries(("Chile", "Peru", "Kenya"))]


def test_every_model_on_every_countrys_pairs(scores):
    cells = country_matrix(scores)
    assert len(cells) == 3 * 8  # global, length, two arms of three countries
    by_place = {(cell["model"], cell["country"]): cell for cell in cells}
    for each in scores:
        for label in each.rewards:
            cell = by_place[label, each.country]
            accuracy = pair_accuracy(each.margin(label), each.user)
            assert cell["accuracy"] == accuracy.interval.value
            assert (cell["pairs"], cell["users"]) == (accuracy.pairs, accuracy.interval.users)
            against = paired_differences(
                {"m": each.margin(label)}, each.margin("global"), each.user
            )["m"].bootstrap
            ends = (cell["against_global"], cell["against_low"], cell["against_high"])
            assert ends == pytest.approx((against.value, against.low, against.high))
    cell = by_place["Peru/scpo", "Kenya"]
    assert (cell["arm"], cell["model_country"]) == ("scpo", "Peru")
    assert by_place["global", "Kenya"]["model_country"] is None


def test_the_worst_country_of_models_and_of_arms_at_home(scores):
    cells = country_matrix(scores)
    worst = {(row["model"], row["own"]): row for row in worst_countries(cells)}
    everywhere = {c["country"]: c["accuracy"] for c in cells if c["model"] == "Peru/scpo"}
    found = worst["Peru/scpo", False]
    assert found["accuracy"] == min(everywhere.values()) == everywhere[found["country"]]
    assert found["mean"] == pytest.approx(np.mean(list(everywhere.values())))
    home = {c["country"]: c["accuracy"] for c in cells if c["model"] == f"{c['country']}/full"}
    assert worst["full", True]["accuracy"] == min(home.values())
    assert worst["full", True]["countries"] == 3
    assert ("global", True) not in worst


def test_an_arm_that_a_country_lacks_has_no_worst_country(scores):
    fewer = {k: v for k, v in scores[2].rewards.items() if k != "Kenya/full"}
    cells = country_matrix([*scores[:2], replace(scores[2], rewards=fewer)])
    names = {(row["model"], row["own"]) for row in worst_countries(cells)}
    assert ("full", True) not in names
    assert ("Kenya/full", False) not in names
    assert {("scpo", True), ("Chile/full", False)} <= names


def once_each(scores, label):
    """The reward of each response, by the name of its interaction and its position in it."""
    seen = {}
    for name, (chosen, rejected) in zip(scores.pair_id, scores.rewards[label], strict=True):
        interaction, _, ends = str(name).rpartition(":")
        better, worse = ends.split(">")
        seen[f"{interaction}:{better}"], seen[f"{interaction}:{worse}"] = chosen, rejected
    assert len(seen) == len(scores)  # three responses, three pairs
    return [seen[key] for key in sorted(seen)]


def test_movement_is_spearmans_and_the_share_of_pairs_ordered_alike(scores):
    found = {(m["country"], m["arm"]): m for m in movements(scores)}
    each = scores[1]
    expected = spearmanr(once_each(each, "Peru/full"), once_each(each, "global")).statistic
    movement = found["Peru", "full"]
    assert movement["responses"] == movement["pairs"] == len(each)
    assert movement["rank_correlation"] == pytest.approx(expected, abs=1e-12)
    alike = (each.margin("Peru/full") > 0) == (each.margin("global") > 0)
    assert movement["agreement"] == np.mean(alike)
    assert movement["agreement_low"] < movement["agreement"] < movement["agreement_high"]
    own = found["Peru", "global"]
    assert (own["rank_correlation"], own["agreement"]) == (pytest.approx(1.0), 1.0)
    assert set(found) == {
        (c, a) for c in ("Chile", "Peru", "Kenya") for a in ("global", "full", "scpo", "length")
    }


def test_constant_rewards_have_no_rank(scores):
    flat = {**scores[0].rewards, "flat": np.ones((len(scores[0]), 2))}
    found = movements([replace(scores[0], rewards=flat)])
    assert {m["arm"]: m["rank_correlation"] for m in found}["flat"] is None


def test_the_global_model_must_be_there(scores):
    without = {k: v for k, v in scores[0].rewards.items() if k != "global"}
    with pytest.raises(ValueError, match=r"the model must be one of .* but got 'global'"):
        country_matrix([replace(scores[0], rewards=without)])
