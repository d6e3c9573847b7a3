"""A country's pairs as differences of the global model's features, computed once and cached."""

from pathlib import Path

import numpy as np

from scpo.arrays import IntArray
from scpo.choices import ResolvedPrecision
from scpo.countries.country_data import CountryData
from scpo.countries.features import features_folder, features_with_cache, reward_head
from scpo.files.shared_cache import local_cache
from scpo.models.devices import pick_device, resolve_precision
from scpo.models.loading import load_reward_model
from scpo.models.model_source import ModelSource
from scpo.models.reward_model import RewardModel, content_hash
from sweeps.config import Say, SweepConfig
from sweeps.probe.heads import ProbedPairs


def open_features(
    config: SweepConfig, model: ModelSource
) -> tuple[RewardModel, Path, ResolvedPrecision]:
    """Return the global model on its device, its folder of features, and its precision."""
    reward = load_reward_model(model, trust_remote_code=config.global_model.trust_remote_code).to(
        pick_device()
    )
    precision = resolve_precision(config.training.precision, reward.model.device)
    folder = features_folder(
        local_cache(config.cache), model_hash=content_hash(model), precision=precision
    )
    return reward, folder, precision


def probe_parts(
    reward: RewardModel,
    data: CountryData,
    folder: Path,
    *,
    precision: ResolvedPrecision,
    say: Say,
) -> tuple[ProbedPairs, ProbedPairs]:
    """Return a country's training and validation pairs; texts of test users are not read.

    Raises:
        ValueError: A part has no pairs, or the model has no linear head.
        RuntimeError: A feature is not finite.
    """
    parts = [data.pairs_in("train"), data.pairs_in("validation")]
    which = np.concatenate(parts)
    pairs = probe_pairs(reward, data, which, folder, precision=precision, say=say)
    train, validation = np.split(np.arange(len(pairs)), [len(parts[0])])
    return pairs.take(train), pairs.take(validation)


def probe_pairs(
    reward: RewardModel,
    data: CountryData,
    which: IntArray,
    folder: Path,
    *,
    precision: ResolvedPrecision,
    say: Say,
) -> ProbedPairs:
    """Return some of a country's pairs as differences of features.

    Args:
        reward: The global model.
        data: The country's arrays.
        which: Numbers of its pairs, shape (P,).
        folder: Folder of `scpo.countries.features.features_folder`.
        precision: Precision of the matrix products.
        say: Called with how many features were computed.

    Raises:
        ValueError: The model has no linear head.
        RuntimeError: A feature is not finite.
    """
    pairs = data.pairs.take(which)
    needed, number = np.unique(np.concatenate([pairs.chosen, pairs.rejected]), return_inverse=True)
    report = features_with_cache(reward, data.texts, needed, folder, precision=precision)
    say(
        f"{data.country}: features of {report.num_computed} texts computed, "
        f"{report.num_cached} from the cache"
    )
    chosen, rejected = np.split(number, 2)
    differences = report.features[chosen] - report.features[rejected]
    weight = reward_head(reward).weight[0].detach().cpu().numpy().astype(np.float64)
    return ProbedPairs(differences, differences @ weight, data.reference_margin[which])
