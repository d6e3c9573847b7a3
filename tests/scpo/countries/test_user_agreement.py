"""Whose users can be weighed, and weights from a country's arrays."""

from dataclasses import replace

import numpy as np
import pytest

from scpo.config import EncoderConfig, TrainingConfig
from scpo.countries.country_data import CountryData
from scpo.countries.one_country import ready_training
from scpo.countries.user_agreement import (
    add_differences,
    arm_strength,
    country_agreement,
    why_no_user_weights,
)
from scpo.data.interactions import write_interactions
from scpo.heads.linear_heads import ProbedPairs
from scpo.heads.user_margins import agreement_of_users
from scpo.method.user_weights import user_agreement, user_weights


@pytest.fixture
def named(interactions, model_folder, tmp_path):
    write_interactions(interactions(users={"A": 16}), tmp_path / "data" / "interactions.parquet")
    return {
        "data": tmp_path / "data",
        "global_model": str(model_folder("bert")),
        "country": "A",
        "cache": tmp_path / "cache",
        "encoder": EncoderConfig(max_tokens=32),
        "training": TrainingConfig(),
        "tau": 0.7,
        "beta": 1.1,
    }


def make_country(num_users: int = 12, pairs_each: int = 4, prefix: str = "u") -> CountryData:
    """A country of made-up features; its first user is of the test part."""
    rng = np.random.default_rng(0)
    user = np.repeat([f"{prefix}{number:02d}" for number in range(num_users)], pairs_each)
    num_pairs = len(user)
    part = np.where(user == user[0], "test", "train")
    pairs = type("Pairs", (), {})()
    pairs.chosen, pairs.rejected = np.arange(num_pairs), num_pairs + np.arange(num_pairs)
    blank = dict.fromkeys(("num_identical", "num_truncated", "num_overlong"), 0)
    return CountryData(
        "A",
        texts=None,  # type: ignore[arg-type]
        pairs=pairs,
        user=user,
        part=part,
        reference=rng.normal(size=2 * num_pairs),
        response_chars=np.zeros(2 * num_pairs),  # type: ignore[arg-type]
        pair_ids=user,
        **blank,
    )


def features_of(data: CountryData, which: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.normal(size=(2 * len(data.user), 6)).astype(np.float32)[which]


def test_differences_are_of_all_but_test_users() -> None:
    data = make_country()
    asked: list[int] = []

    def note(country: CountryData, which: np.ndarray) -> np.ndarray:
        asked.extend(which.tolist())
        return features_of(country, which)

    with_features = add_differences(data, note)
    assert with_features.differences is not None
    assert np.isnan(with_features.differences[:4]).all()
    assert not {0, 1, 2, 3, 48, 49} & set(asked)
    features = features_of(data, np.arange(96))
    np.testing.assert_array_equal(with_features.differences[9], features[9] - features[57])


def test_agreement_is_of_the_named_pairs_alone() -> None:
    data = add_differences(make_country(), features_of)
    assert data.differences is not None
    which = data.pairs_in("train")[:40]
    margin = data.reference_margin[which]
    pairs = ProbedPairs(data.differences[which], margin, margin, data.user[which])
    expected = agreement_of_users(pairs)
    np.testing.assert_array_equal(country_agreement(data, which), expected)
    fewer = country_agreement(data, which[:24])
    assert not np.allclose(fewer, expected[:24])  # other users, other heads
    again = country_agreement(replace(data, country="B"), which)
    assert again is country_agreement(data, which)  # equal pairs are computed once


def test_the_strength_of_the_arm() -> None:
    data = add_differences(make_country(13), features_of)
    which = data.pairs_in("train")
    assert arm_strength(data, which, 0.0) == 0.0
    assert arm_strength(data, which) in (0.0, 0.5)
    with pytest.raises(ValueError, match=r"A: the arm `user` needs 10 users, but these 20"):
        arm_strength(data, which[:20])
    with pytest.raises(ValueError, match="`0 <= user_strength < inf` must hold, but got -1"):
        arm_strength(data, which, -1.0)


def test_who_cannot_be_weighed() -> None:
    assert why_no_user_weights(make_country()) is None
    few = why_no_user_weights(make_country(10))
    assert few == "it has 9 training users, fewer than 10"
    prompts = why_no_user_weights(make_country(prefix="prompt-"))
    assert prompts == "its pairs name no users, each prompt stands for one"
    questions = why_no_user_weights(replace(make_country(), unit="question"))
    assert questions == "its pairs name no users, each question stands for one"
    with pytest.raises(ValueError, match="A: weights of users need features of the global model"):
        country_agreement(make_country(), np.arange(8))


def test_one_training_weighs_its_users(named) -> None:
    ready = ready_training(**named, arm="user", user_strength=2.0)
    assert len(ready.pairs.chosen) == ready.num_available
    assert ready.user_strength in (0.0, 2.0)
    assert ready.pairs.facts["user_strength"] == ready.user_strength
    if ready.user_strength:
        assert ready.effective_pairs < ready.num_available
    features = list((named["cache"] / "features").iterdir())
    assert len(features) == 1  # cached for the next time


def test_weights_of_a_user_are_one_number() -> None:
    user = np.repeat(np.arange(5), 3)
    agreement = user_agreement(np.random.default_rng(0).normal(size=15), user)
    weights = user_weights(agreement, 1.0).reshape(5, 3)
    assert (weights == weights[:, :1]).all()
