"""One country and one model, without a sweep: what `scpo score` and `scpo train` read.

Both read a prepared folder and a global model, and share the reference cache with `scpo
evaluate`, so the global model runs once. The folder of data keeps its split, so training and
evaluation agree on who is held out, also when users come between them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NotRequired, TypedDict, Unpack

import numpy as np

from scpo.arrays import FeatureArray, IntArray
from scpo.choices import Precision
from scpo.config import EncoderConfig, FeaturesConfig, TrainingConfig
from scpo.countries.build import encoder_of, score_table, steer_countries
from scpo.countries.country_data import CountryData, rows_of
from scpo.countries.features import features_folder, features_with_cache
from scpo.countries.reference_cache import ScoringReport
from scpo.countries.user_agreement import (
    add_differences,
    arm_strength,
    country_agreement,
    why_no_user_weights,
)
from scpo.data.interactions import read_interactions
from scpo.data.reading.countries import find_countries
from scpo.data.splits import keep_split
from scpo.method.arms import check_setting, select_arm
from scpo.method.weighting import effective_pairs
from scpo.models.devices import pick_device, resolve_precision
from scpo.models.loading import load_reward_model
from scpo.models.model_source import ModelSource, find_model
from scpo.models.reward_model import LoadedModel, content_hash
from scpo.tokens.batches import TrainingSet


def score_data(
    data: Path,
    global_model: str,
    countries: Sequence[str],
    *,
    cache: Path,
    encoder: EncoderConfig,
    precision: Precision = "auto",
    score_on: Callable[..., ScoringReport] | None = None,
    is_sharded: bool = False,
) -> tuple[ScoringReport, Path]:
    """Fill the reference cache for some countries, or all where none is named.

    `global_model` is named as of `find_model`; `precision` is that of the training to come, whose
    rewards must be of the same. `score_on` takes the model's source and arguments as of
    `scpo.distributed.ray_scoring.score_on_ray`, to score on a cluster; None for this process. If
    `is_sharded`, this process only maps the model's files: no device need hold it.

    Returns:
        What scoring did, and the cache's folder for this model.

    Raises:
        FileNotFoundError: No such data or model.
        ValueError: A country is absent.
        RuntimeError: The cluster has fewer devices.
    """
    table = read_interactions(data)
    if countries:
        table = rows_of(table, list(countries))
    source, reward = _load(global_model, is_sharded=is_sharded)
    encoder = encoder_of(reward, encoder)
    _, report, folder = score_table(
        table,
        reward,
        content_hash(source),
        max_tokens=encoder.max_tokens,
        overlong=encoder.overlong,
        cache=cache,
        precision=precision,
        score=None if score_on is None else partial(score_on, source),
    )
    return report, folder


@dataclass(frozen=True)
class CountryTraining:
    """A training that can start: the kept pairs with their weights, and the global model.

    `model` is where every node finds it, `reward` is it on the device to use, or mapped from its
    files for workers that share its weights. `user_strength` is 0 where users have no weights: the
    gate of the arm `user` may have refused them. `num_available`
    counts the training pairs before the arm's filter, `effective_pairs` what the weights leave of
    the kept ones; `losses` says how many texts were cut and pairs dropped; `users` are those whose
    pairs are of the training part; `country` holds the pairs of all parts.
    """

    model: ModelSource
    reward: LoadedModel
    pairs: TrainingSet
    user_strength: float
    num_available: int
    effective_pairs: float
    losses: str
    users: tuple[str, ...]
    country: CountryData


class ArmSetting(TypedDict):
    """An arm and its numbers; `user_strength` as of `arm_strength`."""

    arm: str
    tau: float
    beta: float
    user_strength: NotRequired[float | None]


def ready_training(
    data: Path,
    global_model: str,
    country: str,
    *,
    cache: Path,
    encoder: EncoderConfig,
    training: TrainingConfig,
    score_on: Callable[..., ScoringReport] | None = None,
    features_on: Callable[..., FeatureArray] | None = None,
    **setting: Unpack[ArmSetting],
) -> CountryTraining:
    """Select and weigh one country's training pairs; rewards are of the training's precision.

    `score_on` as of `score_data`, but sharded: with it, this process only maps the model's files.
    `features_on` is `compute` of `features_with_cache`, for the arm `user`.

    Raises:
        FileNotFoundError: No such data or model.
        ValueError: The country is absent or too small, a setting is out of range, no pair is
            kept, or its users cannot be weighed.
    """
    check_setting(setting["arm"], setting["tau"], setting["beta"])
    source, reward = _load(global_model, is_sharded=score_on is not None)
    encoder = encoder_of(reward, encoder)
    table = read_interactions(data)
    (country,) = find_countries([country], table["country"].unique().to_pylist())
    (steered,) = steer_countries(
        table,
        [country],
        reward,
        content_hash(source),
        split=keep_split(data, rows_of(table, [country]), [country]),
        max_tokens=encoder.max_tokens,
        overlong=encoder.overlong,
        cache=cache,
        precision=training.precision,
        score=None if score_on is None else partial(score_on, source),
    ).countries.values()
    which = steered.pairs_in("train")
    margin = steered.reference_margin[which]
    given: dict[str, Any] = {name: setting[name] for name in ("arm", "tau", "beta")}
    if setting["arm"] == "user":
        if fault := why_no_user_weights(steered):
            raise ValueError(f"{country}: users cannot be weighed, for {fault}.")
        precision = resolve_precision(training.precision, pick_device())
        how: dict[str, Any] = {"pooling": FeaturesConfig().pooling, "precision": precision}
        folder = features_folder(cache, model_hash=content_hash(source), **how)

        def features_of(data: CountryData, texts: IntArray) -> FeatureArray:
            return features_with_cache(
                reward, data.texts, texts, folder, compute=features_on, **how
            ).features

        steered = add_differences(steered, features_of)
        given["user_strength"] = arm_strength(steered, which, setting.get("user_strength"))
        given["agreement"] = country_agreement(steered, which)
    selection = select_arm(reference_margin=margin, seed=training.seed, **given)
    if not selection.keep.any():
        raise ValueError(
            f"{country}: tau={setting['tau']} keeps none of {len(which)} training pairs. "
            "Raise tau."
        )
    pairs = steered.training_set(which[selection.keep], selection.weights[selection.keep])
    own = {"arm": setting["arm"], **selection.numbers}
    pairs = replace(pairs, facts={**pairs.facts, **own})
    return CountryTraining(
        source,
        reward,
        pairs,
        selection.user_strength,
        len(which),
        effective_pairs(selection.weights),
        steered.losses,
        tuple(np.unique(steered.user[which]).tolist()),
        steered,
    )


def _load(name: str, *, is_sharded: bool) -> tuple[ModelSource, LoadedModel]:
    source = find_model(name)
    reward = load_reward_model(source, as_stored=is_sharded)
    return source, reward if is_sharded else reward.to(pick_device())
