"""The features of a country's responses and its pairs of them, as the probe trains on them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scpo.arrays import FloatArray, IntArray
from scpo.countries.country_data import CountryData
from scpo.countries.features import FeatureArray, features_folder, features_with_cache, reward_head
from scpo.files.shared_cache import local_cache
from scpo.models.devices import pick_device, resolve_precision
from scpo.models.loading import load_reward_model
from scpo.models.model_source import ModelSource
from scpo.models.reward_model import RewardModel, content_hash
from sweeps.config import Say, SweepConfig


@dataclass(frozen=True)
class ProbedPairs:
    """The pairs of one part of a country's users, as differences of features.

    Attributes:
        differences: phi(y+) - phi(y-) of each pair, shape (P, D).
        offset: Margin of the global head on them, shape (P,).
        reference_margin: Margin of the global model, shape (P,).
    """

    differences: FeatureArray
    offset: FloatArray
    reference_margin: FloatArray

    def take(self, which: IntArray) -> "ProbedPairs":
        """Return the named pairs, in the order named."""
        return ProbedPairs(
            self.differences[which], self.offset[which], self.reference_margin[which]
        )


def open_features(config: SweepConfig, model: ModelSource) -> tuple[RewardModel, Path, Any]:
    """Return the global model on its device, its folder of features, and its precision."""
    reward = load_reward_model(model, trust_remote_code=config.global_model.trust_remote_code).to(
        pick_device()
    )
    precision = resolve_precision(config.training.precision, reward.model.device)
    folder = features_folder(
        local_cache(config.cache), model_hash=content_hash(model), precision=precision
    )
    return reward, folder, precision


def probe_pairs(
    reward: RewardModel, data: CountryData, folder: Path, *, precision: Any, say: Say
) -> tuple[ProbedPairs, ProbedPairs]:
    """Return a country's training and validation pairs on the features of their texts.

    Texts of test users are not read.

    Args:
        reward: The global model.
        data: The country's arrays.
        folder: Folder of `scpo.countries.features.features_folder`.
        precision: Precision of the matrix products.
        say: Told how many features were computed.

    Raises:
        ValueError: A part has no pairs, or the model has no linear head.
        RuntimeError: A feature is not finite.
    """
    parts = [data.pairs_in("train"), data.pairs_in("validation")]
    both = data.pairs.take(np.concatenate(parts))
    needed, number = np.unique(np.concatenate([both.chosen, both.rejected]), return_inverse=True)
    report = features_with_cache(reward, data.texts, needed, folder, precision=precision)
    say(
        f"{data.country}: features of {report.num_computed} texts computed, "
        f"{report.num_cached} from the cache"
    )
    chosen, rejected = np.split(number, 2)
    differences = report.features[chosen] - report.features[rejected]
    weight = reward_head(reward).weight[0].detach().cpu().numpy().astype(np.float64)
    pairs = ProbedPairs(
        differences, differences @ weight, data.reference_margin[np.concatenate(parts)]
    )
    split = len(parts[0])
    return pairs.take(np.arange(split)), pairs.take(np.arange(split, len(differences)))
