"""A country's pairs as differences of the global model's features, computed once and cached."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from scpo.arrays import FeatureArray, IntArray
from scpo.choices import ResolvedPrecision
from scpo.countries.country_data import CountryData
from scpo.countries.features import KeptFeatures, features_with_cache
from scpo.countries.pooling import reward_head
from scpo.distributed.sharded_scoring import features_sharded
from scpo.files.places import absolute, below
from scpo.heads.linear_heads import ProbedPairs
from scpo.models.devices import pick_device, resolve_precision
from scpo.models.loading import load_reward_model
from scpo.models.model_source import ModelSource
from scpo.models.reward_model import LoadedModel
from sweeps.config import Say, SweepConfig
from sweeps.run.inputs import kept_features
from sweeps.run.workspace import worker_group


@dataclass(frozen=True)
class FeatureStore:
    """The global model on its device, and the cache of its features.

    `compute` is as of `features_with_cache`: workers that share the weights, or None.
    """

    reward: LoadedModel
    kept: KeptFeatures
    precision: ResolvedPrecision  # of the matrix products
    compute: Callable[..., FeatureArray] | None


def open_features(config: SweepConfig, model: ModelSource) -> FeatureStore:
    """Load a sweep's global model to read features from, in sharded lanes by their workers."""
    trusted = config.global_model.trust_remote_code
    is_sharded = config.lanes.workers > 1  # no device need hold the whole model
    reward = load_reward_model(model, as_stored=is_sharded, trust_remote_code=trusted)
    compute = None
    if is_sharded:
        storage = below(absolute(config.cache), ".ray-train")
        group = worker_group(config.lanes)
        compute = partial(
            features_sharded, model, group=group, storage=storage, trust_remote_code=trusted
        )
    else:
        reward = reward.to(pick_device())
    precision = resolve_precision(config.training.precision, pick_device())
    return FeatureStore(reward, kept_features(config, model), precision, compute)


def probe_parts(
    store: FeatureStore, data: CountryData, say: Say
) -> tuple[ProbedPairs, ProbedPairs]:
    """Return a country's training and validation pairs; texts of test users are not read.

    Raises:
        ValueError: A part has no pairs, or the model has no linear head.
        RuntimeError: A feature is not finite.
    """
    train, validation = data.pairs_in("train"), data.pairs_in("validation")
    pairs = probe_pairs(store, data, np.concatenate([train, validation]), say)
    first, second = np.split(np.arange(len(pairs)), [len(train)])
    return pairs.take(first), pairs.take(second)


def texts_features(
    store: FeatureStore, data: CountryData, which: IntArray, say: Say
) -> FeatureArray:
    """Return the features of a country's texts that `which` names, shape (B, D).

    Raises:
        ValueError: The model has no linear head.
        RuntimeError: A feature is not finite.
    """
    report = features_with_cache(
        store.reward,
        data.texts,
        which,
        store.kept.folder,
        precision=store.precision,
        pooling=store.kept.pooling,
        compute=store.compute,
    )
    say(
        f"{data.country}: features of {report.num_computed} texts computed, "
        f"{report.num_cached} from the cache"
    )
    return report.features


def probe_pairs(store: FeatureStore, data: CountryData, which: IntArray, say: Say) -> ProbedPairs:
    """Return the pairs of a country that `which`, shape (P,), names, as differences of features.

    A head begins as the global model and is pulled to it: with pooling `head` to the global head's
    weights w0, with `mean` to the global model's rewards, r = r_global + w . phi and w to 0.

    Raises:
        ValueError: The model has no linear head.
        RuntimeError: A feature is not finite.
    """
    pairs = data.pairs.take(which)
    needed, number = np.unique(np.concatenate([pairs.chosen, pairs.rejected]), return_inverse=True)
    features = texts_features(store, data, needed, say)
    chosen, rejected = np.split(number, 2)
    differences = features[chosen] - features[rejected]
    margin = data.reference_margin[which]
    user = data.user[which]
    if store.kept.pooling == "mean":  # the reward is not linear in them: heads add to it
        return ProbedPairs(differences, margin, margin, user)
    weight = reward_head(store.reward).weight[0].detach().cpu().numpy().astype(np.float64)
    return ProbedPairs(differences, differences @ weight, margin, user)
