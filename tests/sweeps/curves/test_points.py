"""Points of curves from records: seeds, pooling, what a search trained, and what is refused."""

import pytest

from sweeps.curves.points import curve_points
from sweeps.ledger.words import POOLED


@pytest.fixture(scope="module")
def points(records):
    return curve_points(records)


def curve_records(records, country: str = "Chile"):
    return [r for r in records if r.purpose == "curve" and r.country == country]


def find(points, country, arm, budget, seed):
    wanted = (country, arm, budget, seed)
    return next(p for p in points if (p.country, p.arm, p.budget, p.seed) == wanted)


def test_points_of_every_seed_and_their_mean(points):
    # 4 groups, 3 arms, 4 budgets, 2 seeds and 1 mean
    assert len(points) == 4 * 3 * 4 * 3
    assert list(dict.fromkeys(p.country for p in points)) == [
        POOLED,
        "Chile",
        "Mexico",
        "South Africa",
    ]
    assert list(dict.fromkeys(p.arm for p in points)) == ["full", "scpo", "random_k"]


def test_a_point_repeats_its_record(points, records):
    record = next(r for r in records if r.trial_id == "curve-Chile-scpo-0.5-1")
    point = find(points, "Chile", "scpo", 0.5, 1)
    overall = record.evaluation.overall
    assert point.accuracy.value == pytest.approx(overall.accuracy)
    assert (point.accuracy.low, point.accuracy.high) == pytest.approx((overall.low, overall.high))
    assert (point.pairs_labelled, point.pairs_trained) == (120, 72)  # 240 / 2, and 60 % of it
    assert point.global_accuracy == pytest.approx(record.evaluation.global_overall.accuracy)
    assert point.length_accuracy == pytest.approx(record.evaluation.length.accuracy)


def test_mean_over_seeds_and_pooled_by_hand(points):
    seeds = [find(points, "Chile", "full", 0.25, seed) for seed in (0, 1)]
    mean = find(points, "Chile", "full", 0.25, None)
    assert mean.accuracy.value == pytest.approx(sum(p.accuracy.value for p in seeds) / 2)
    assert (mean.num_seeds, mean.pairs, mean.users) == (2, seeds[0].pairs, 5)
    countries = [find(points, c, "full", 0.25, 1) for c in ("Chile", "Mexico", "South Africa")]
    pooled = find(points, POOLED, "full", 0.25, 1)
    right = sum(p.accuracy.value * p.pairs for p in countries)
    assert pooled.accuracy.value == pytest.approx(right / sum(p.pairs for p in countries))
    assert pooled.pairs_labelled == sum(p.pairs_labelled for p in countries)
    assert pooled.users == 15


def test_a_budget_that_a_country_lacks_is_not_pooled(records):
    some = [r for r in records if not r.trial_id.startswith("curve-Mexico-scpo-0.5")]
    pooled = [p for p in curve_points(some) if p.country == POOLED and p.arm == "scpo"]
    assert {p.budget for p in pooled} == {0.125, 0.25, 1.0}


def test_an_arm_that_one_country_lacks_altogether_is_pooled_over_the_others(records):
    some = [r for r in records if not r.trial_id.startswith("curve-Mexico-scpo")]
    pooled = [p for p in curve_points(some) if p.country == POOLED and p.arm == "scpo"]
    assert {p.users for p in pooled} == {11}


def test_one_country_is_not_pooled(records):
    points = curve_points(curve_records(records))
    assert {p.country for p in points} == {"Chile"}


@pytest.mark.parametrize("budget", [None, 0, 1.5, "x"])
def test_a_budget_outside_its_range_is_refused(records, budget):
    record = curve_records(records)[0]
    odd = record.model_copy(update={"config": {"budget": budget}})
    with pytest.raises(ValueError, match="`0 < budget <= 1` must hold"):
        curve_points([odd])


def test_a_missing_count_is_refused(records):
    odd = curve_records(records)[0].model_copy(update={"counts": {"pairs_labelled": 3.0}})
    with pytest.raises(ValueError, match="`pairs_trained > 0` must hold, but curve trial"):
        curve_points([odd])


def test_test_figures_are_refused(records):
    final = next(r for r in records if (r.purpose, r.arm) == ("final", "scpo"))
    odd = final.model_copy(update={"purpose": "curve"})
    with pytest.raises(ValueError, match="must be evaluated on validation users"):
        curve_points([odd])


def corner_of_search(records, budget, **config):
    """A rung, or at budget 1 a whole trial, of plain fine-tuning in Chile's search."""
    like = next(r for r in curve_records(records) if r.trial_id == "curve-Chile-full-1.0-0")
    settings = {**like.config, "retention": 1.0, "strength": 0.0, "budget": budget, **config}
    changes = {
        "trial_id": f"chile-0000@{budget}",
        "purpose": "rung" if budget < 1 else "search",
        "arm": "scpo_tuned",
        "config": settings,
        "counts": {**like.counts, "pairs_labelled": round(240 * budget)},
    }
    return like.model_copy(update=changes)


def test_plain_fine_tuning_of_the_search_is_a_curve_of_full(records):
    corner = [corner_of_search(records, budget) for budget in (0.3, 1.0)]
    pruned = corner[0].model_copy(update={"state": "pruned", "trial_id": "x"})
    weighted = corner_of_search(records, 0.6, strength=1.0)
    points = curve_points([*corner, pruned, weighted])
    assert {(p.arm, p.budget, p.pairs_labelled) for p in points} == {
        ("full", 0.3, 72),
        ("full", 1.0, 240),
    }


def test_search_points_join_a_curve_of_the_same_numbers_only(records):
    curve = curve_records(records)
    budgets = {p.budget for p in curve_points([*curve, corner_of_search(records, 0.3)])}
    assert budgets == {0.125, 0.25, 0.3, 0.5, 1.0}
    other = corner_of_search(records, 0.3, learning_rate=0.5)
    assert {p.budget for p in curve_points([*curve, other])} == {0.125, 0.25, 0.5, 1.0}


def test_the_trained_curve_goes_before_the_searched_point(records):
    curve = curve_records(records)
    searched = corner_of_search(records, 1.0)
    assert curve_points([searched, *curve]) == curve_points(curve)
