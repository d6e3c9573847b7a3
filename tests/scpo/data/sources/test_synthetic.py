import hashlib
import json
from itertools import combinations
from typing import Any, Literal

import pytest

from scpo.config import SyntheticConfig, parse_config
from scpo.data.sources.synthetic import (
    COUNTRY_NAMES,
    SyntheticWorld,
    make_synthetic,
)
from scpo.data.sources.synthetic_phrases import load_attributes, load_questions


def true_utilities(
    world: SyntheticWorld, *, weights: Literal["country", "shared"] = "country"
) -> dict[str, list[float]]:
    """Return the noiseless utility of each response, by interaction id."""
    utilities = {}
    truth = world.truth
    ids, countries = world.interactions["interaction_id"], world.interactions["country"]
    for key, country in zip(ids.to_pylist(), countries.to_pylist(), strict=True):
        own = truth["shared_weights"] if weights == "shared" else truth["country_weights"][country]
        utilities[key] = [
            sum(own[name] * truth["attributes"][name][at] for name, at in response.items())
            for response in truth["levels"][key]
        ]
    return utilities


def measure_accuracy(world: SyntheticWorld, utilities: dict[str, list[float]], kind: str) -> float:
    """The share of untied pairs of users of a kind that utilities order as the scores do."""
    right = []
    for row in world.interactions.to_pylist():
        if world.truth["user_kinds"][row["user_id"]] != kind:
            continue
        judged = zip(row["scores"], utilities[row["interaction_id"]], strict=True)
        for (score, utility), (other_score, other_utility) in combinations(judged, 2):
            if score != other_score:
                right.append((score > other_score) == (utility > other_utility))
    return sum(right) / len(right)


@pytest.fixture(scope="module")
def world() -> SyntheticWorld:
    return make_synthetic(SyntheticConfig(num_countries=3, users_per_country=30, seed=1))


def test_sizes_and_names(world: SyntheticWorld) -> None:
    rows = world.interactions.to_pylist()
    assert len(rows) == 3 * 30 * 6
    assert [row["user_id"] for row in rows[:7]] == ["arvandia-000"] * 6 + ["arvandia-001"]
    assert {row["country"] for row in rows} == {"Arvandia", "Belmora", "Cestria"}
    assert len({row["interaction_id"] for row in rows}) == len(rows)
    assert len({(row["user_id"], row["prompt"]) for row in rows}) == len(rows)
    assert all(len(set(row["responses"])) == len(row["scores"]) == 4 for row in rows)
    keys = [(row["country"], row["user_id"], row["interaction_id"]) for row in rows]
    assert keys == sorted(keys)


def test_scores_are_in_range_and_rarely_tied(world: SyntheticWorld) -> None:
    scores = world.interactions["scores"].to_pylist()
    assert all(1 <= score <= 100 and score == int(score) for four in scores for score in four)
    pairs = [pair for four in scores for pair in combinations(four, 2)]
    assert sum(first == second for first, second in pairs) / len(pairs) < 0.03


def test_responses_are_of_natural_length(world: SyntheticWorld) -> None:
    texts = [text for four in world.interactions["responses"].to_pylist() for text in four]
    words = [len(text.split()) for text in texts]
    assert 15 <= min(words)
    assert max(words) <= 95
    assert 45 <= sum(words) / len(words) <= 60
    assert not any("{" in text or "  " in text for text in texts)


def test_same_seed_same_world() -> None:
    options: dict[str, Any] = {"num_countries": 2, "users_per_country": 3}
    first, second = (
        make_synthetic(SyntheticConfig(**options, seed=5)),
        make_synthetic(SyntheticConfig(**options, seed=5)),
    )
    assert first.interactions.equals(second.interactions)
    assert first.truth == second.truth
    other = make_synthetic(SyntheticConfig(**options, seed=6))
    assert not other.interactions.equals(first.interactions)


@pytest.mark.parametrize(
    ("options", "digest"),
    [
        ({}, "688dceeee34abd85946d190b214dd96d"),
        (
            {
                "num_countries": 16,
                "users_per_country": 9,
                "interactions_per_user": 24,
                "responses_per_interaction": 5,
                "seed": 3,
            },
            "57969d348c3d5d33c998782c007eef6d",
        ),
    ],
)
def test_worlds_stay_as_they_were_made(options: dict[str, Any], digest: str) -> None:
    world = make_synthetic(SyntheticConfig(**options))
    columns = [
        name
        for name in world.interactions.column_names
        if name not in ("unit", "messages", "vetted", "prompt_prefix")
    ]
    content = json.dumps([world.interactions.select(columns).to_pylist(), world.truth])
    assert hashlib.sha256(content.encode()).hexdigest()[:32] == digest


def test_kinds_of_users_are_exact_shares(world: SyntheticWorld) -> None:
    for country in ("arvandia", "belmora", "cestria"):
        kinds = [
            kind for user, kind in world.truth["user_kinds"].items() if user.startswith(country)
        ]
        assert (kinds.count("outlier"), kinds.count("noise"), len(kinds)) == (3, 3, 30)


def test_truth_orders_the_choices_of_typical_users_best(world: SyntheticWorld) -> None:
    country, shared = true_utilities(world), true_utilities(world, weights="shared")
    assert measure_accuracy(world, country, "typical") > 0.8
    assert measure_accuracy(world, shared, "typical") < measure_accuracy(world, country, "typical")
    assert measure_accuracy(world, shared, "outlier") < 0.3
    assert 0.4 < measure_accuracy(world, shared, "noise") < 0.6


def test_levels_are_shown_by_their_phrases(world: SyntheticWorld) -> None:
    for row in world.interactions.to_pylist()[:50]:
        levels = world.truth["levels"][row["interaction_id"]]
        for text, response in zip(row["responses"], levels, strict=True):
            for name, at in response.items():
                for position, level in enumerate(load_attributes()[name]):
                    heads = [phrase.split("{")[0] for phrase in level.phrases]
                    shown = any(head in text for head in heads)
                    assert shown == (position == at and bool(heads))


def test_without_shift_all_countries_are_the_shared_one() -> None:
    truth = make_synthetic(SyntheticConfig(num_countries=2, users_per_country=1, shift=0.0)).truth
    assert truth["country_weights"]["Arvandia"] == truth["shared_weights"]


def test_extreme_shift_and_truth_is_json() -> None:
    world = make_synthetic(SyntheticConfig(num_countries=1, users_per_country=2, shift=1e6))
    assert json.loads(json.dumps(world.truth, allow_nan=False)) == world.truth


def test_weights_have_a_fixed_length(world: SyntheticWorld) -> None:
    weights = list(world.truth["shared_weights"].values())
    assert len(weights) == 8
    assert sum(weight**2 for weight in weights) / 8 == pytest.approx(0.49)


def test_words_are_enough_to_choose_from() -> None:
    assert len(load_questions()) == 24
    assert len(set(COUNTRY_NAMES)) == 16
    phrases = [
        phrase
        for levels in load_attributes().values()
        for level in levels
        for phrase in level.phrases
    ]
    assert len(phrases) == len(set(phrases))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"num_countries": 17}, "num_countries: .*less than or equal to 16 .got 17."),
        ({"users_per_country": 0}, "users_per_country: .*greater than or equal to 1"),
        ({"interactions_per_user": 25}, "interactions_per_user: .*less than or equal to 24"),
        (
            {"responses_per_interaction": 1},
            "responses_per_interaction: .*greater than or equal to 2",
        ),
        ({"shift": -0.1}, "shift: .*greater than or equal to 0"),
        ({"shift": float("inf")}, "shift"),
        ({"outlier_share": float("nan")}, "outlier_share"),
        (
            {"outlier_share": 0.5, "noise_user_share": 0.6},
            "`outlier_share . noise_user_share <= 1` must hold, but got 0.5 . 0.6",
        ),
    ],
)
def test_bad_options(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        parse_config(SyntheticConfig, options, "synthetic")
