"""What the study's design rests on, measured on BLEnD: pooling, and users who cannot be relied on.

Differences are paired by question, over all countries and one deal of questions into folds.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from scpo.arrays import FeatureArray
from scpo.config import FeaturesConfig, load_config
from scpo.countries.country_data import CountryData
from scpo.heads.linear_heads import ProbedPairs, head_margins
from scpo.statistics.bootstrap import Interval, interval
from scpo.statistics.user_folds import deal_users
from sweeps.config import HeadsConfig
from sweeps.probe.choose_heads import choose_heads
from sweeps.research.study.annotators import simulate_annotators
from sweeps.research.study.frozen_arrays import load_arrays, pair_differences, prepare_arrays
from sweeps.research.study.frozen_cells import FrozenCell, country_arrays
from sweeps.research.study.study_config import AnnotatorsConfig, StudyConfig

STUDY = Path(__file__).parents[4] / "sweeps" / "configs" / "study.yaml"
COUNTRIES = (
    "Ethiopia",
    "Greece",
    "Indonesia",
    "Iran",
    "Mexico",
    "South Korea",
    "United Kingdom",
    "United States",
)
REVERSED, NUM_DRAWS = 0.3, 3

pytestmark = [pytest.mark.data, pytest.mark.exhaustive]


def by_country(
    study: StudyConfig, folder: Path, pooling: str
) -> Iterator[tuple[CountryData, FeatureArray]]:
    """Yield the arrays of each country, with its features."""
    study = study.model_copy(update={"features": FeaturesConfig(pooling=pooling)})
    config = study.frozen["blend"]
    prepare_arrays(config, folder / pooling, print, study)
    arrays = load_arrays(folder / pooling, study.backbone, config.encoder)
    rest = (COUNTRIES, study.backbone, (0,), 5, config.model_dump(mode="json"))
    for country in COUNTRIES:
        cell = FrozenCell(str(folder / pooling), country, *rest)
        features, data, _ = country_arrays(cell, config, arrays)
        yield data, features


def probed(data: CountryData, features: FeatureArray) -> ProbedPairs:
    margin = data.reference_margin
    return ProbedPairs(pair_differences(features, data.pairs), margin, margin, data.user)


def right_by_question(data: CountryData, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sums and pairs by question."""
    _, number = np.unique(data.user, return_inverse=True)
    return np.bincount(number, right), np.bincount(number).astype(np.float64)


def difference(gains: list[np.ndarray], pairs: list[np.ndarray]) -> Interval:
    total, count = np.concatenate(gains), np.concatenate(pairs)
    return interval(total[count > 0], count[count > 0])


@pytest.fixture(scope="module")
def study(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCPO_DATA", str(data_folder))
        return load_config(StudyConfig, STUDY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blend")


def test_mean_pooling_beats_the_pooler(study: StudyConfig, folder: Path) -> None:
    right: dict[str, list[np.ndarray]] = {"mean": [], "head": []}
    counts: list[np.ndarray] = []
    for pooling, sums in right.items():
        for data, features in by_country(study, folder, pooling):
            pairs, fold = probed(data, features), deal_users(data.user, 5, seed=0)
            margin = np.empty(len(pairs))
            for number in range(5):
                seen, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
                heads = choose_heads(
                    pairs.take(seen), study.frozen["blend"].heads, seed=0, arms=("full",)
                )
                margin[held] = head_margins(heads["full"].moved, pairs.take(held))
            sums.append(right_by_question(data, (margin > 0) * 1.0)[0])
            if pooling == "mean":
                counts.append(right_by_question(data, margin)[1])
    gains = [mean - head for mean, head in zip(right["mean"], right["head"], strict=True)]
    gain = difference(gains, counts)
    print(gain)
    assert gain.value is not None
    assert gain.low is not None
    assert gain.value >= 0.015
    assert gain.low > 0.0


def test_weights_of_users_gain_where_annotators_reverse_their_choices(
    study: StudyConfig, folder: Path
) -> None:
    """Annotators are simulated: each question is one's, and of 30 % all choices are reversed.

    Three times anew, since it counts how many pairs the unreliable ones happen to have.
    """
    gains, counts = [], []
    for data, features in by_country(study, folder, "mean"):
        clean = probed(data, features)
        better = np.zeros(len(clean))  # 1, 0 or -1, the mean of the draws
        for draw in range(NUM_DRAWS):
            better += gain_of_users(clean, study.frozen["blend"].heads, draw) / NUM_DRAWS
        total, pairs = right_by_question(data, better)
        gains.append(total)
        counts.append(pairs)
    gain = difference(gains, counts)
    print(gain)
    assert gain.value is not None
    assert gain.low is not None
    assert gain.value >= 0.03
    assert gain.low > 0.0


def gain_of_users(clean: ProbedPairs, config: HeadsConfig, draw: int) -> np.ndarray:
    """Return, of each held-out pair as it is, what the arm `user` gains on `full`, shape (P,)."""
    spoilt = simulate_annotators(clean, AnnotatorsConfig(unreliable=REVERSED), draw)
    fold = deal_users(clean.user, 5, seed=0)
    better = np.empty(len(clean))
    for number in range(5):
        seen, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        heads = choose_heads(spoilt.take(seen), config, seed=0, arms=("full", "user"))
        right = {
            arm: head_margins(head.moved, clean.take(held)) > 0 for arm, head in heads.items()
        }
        better[held] = right["user"] * 1.0 - right["full"]
    return better
