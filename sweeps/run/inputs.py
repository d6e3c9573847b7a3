"""What a sweep needs before its first trial: table, global model, reference rewards."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from scpo.countries.build import Score, SteeredCountries, encoder_differences, steer_countries
from scpo.countries.features import KeptFeatures, features_folder
from scpo.countries.reference_cache import score_with_cache
from scpo.data.splits import SPLIT_FILE
from scpo.distributed.ray_scoring import score_on_ray
from scpo.distributed.ray_start import start_ray
from scpo.distributed.sharded_scoring import score_sharded
from scpo.files.atomic import write_json
from scpo.models.devices import pick_device, resolve_precision
from scpo.models.loading import load_reward_model
from scpo.models.model_source import ModelSource
from scpo.models.reward_model import LoadedModel, content_hash
from sweeps.config import Say, SweepConfig
from sweeps.run.mirror import Mirror
from sweeps.run.pins import pin_file, pin_rewards
from sweeps.run.run_folder import split_of_run
from sweeps.run.shared_cache import local_cache, shared_cache
from sweeps.run.table_and_model import prepare_table_and_model, ray_files
from sweeps.run.workspace import Workspace, worker_group


def prepare_all(config: SweepConfig, run: Path, say: Say) -> tuple[ModelSource, SteeredCountries]:
    """Return the source of the global model and each country's arrays, made if missing."""
    table, model = prepare_table_and_model(config, run, say)
    return model, prepare_countries(config, table, model, run, say)


def open_workspace(
    config: SweepConfig, run: Path, say: Say, *, mirror: Mirror | None = None
) -> Workspace:
    """Return what all lanes of a run share, made if missing; starts or joins Ray.

    Without a `mirror` every node must reach the run's folder.
    """
    table, model = prepare_table_and_model(config, run, say)
    shared = model
    if mirror is not None:
        shared = replace(model, name=mirror.share_model(model.folder()), commit=None)
    steered = prepare_countries(config, table, model, run, say, shared=shared)
    start_ray()
    return Workspace(
        model=shared,
        countries=steered.countries,
        training=config.training,
        trust_remote_code=config.global_model.trust_remote_code,
        place=None if mirror is None else mirror.remote.uri,
    )


def kept_features(config: SweepConfig, model: ModelSource) -> KeptFeatures:
    """Return where this node keeps the global model's features, and how they are pooled."""
    pooling = config.features.pooling
    folder = features_folder(
        local_cache(config.cache),
        model_hash=content_hash(model),
        precision=resolve_precision(config.training.precision, pick_device()),
        pooling=pooling,
    )
    return KeptFeatures(folder, pooling)


def _scoring(
    config: SweepConfig, model: ModelSource, shared: ModelSource, reward: LoadedModel, run: Path
) -> Score | None:
    """Return who scores: the workers of a sharded lane, all devices of a cluster, or `reward`.

    Whoever holds the whole model keeps its features from the same pass, if they may be read.
    """
    trusted = config.global_model.trust_remote_code
    if config.lanes.workers > 1:
        group, storage = worker_group(config.lanes), ray_files(run)
        return partial(
            score_sharded, shared, group=group, storage=storage, trust_remote_code=trusted
        )
    kept = kept_features(config, model) if config.may_read_features else None
    use_gpu = config.lanes.gpus > 0
    if use_gpu or os.environ.get("RAY_ADDRESS"):
        return partial(score_on_ray, shared, use_gpu=use_gpu, kept=kept, trust_remote_code=trusted)
    return None if kept is None else partial(score_with_cache, reward, score=kept.score)


def prepare_countries(
    config: SweepConfig,
    table: pa.Table,
    model: ModelSource,
    run: Path,
    say: Say,
    *,
    shared: ModelSource | None = None,
) -> SteeredCountries:
    """Return each country's arrays; the global model scores what the cache lacks.

    `model` is the global model as this process loads it, `shared` as every node does where that
    differs.
    """
    trusted = config.global_model.trust_remote_code
    is_sharded = config.lanes.workers > 1  # no device need hold the whole model
    reward = load_reward_model(model, as_stored=is_sharded, trust_remote_code=trusted)
    for difference in encoder_differences(reward, config.encoder):
        say(f"global model: {difference}")
    if not is_sharded:
        reward = reward.to(pick_device())
    score = _scoring(config, model, shared or model, reward, run)
    split = run / SPLIT_FILE
    if was_split := split.is_file():
        pin_file(run, "split", split)
    with shared_cache(config.cache) as cache:
        steered = steer_countries(
            table,
            config.countries,
            reward,
            content_hash(model),
            split=split_of_run(config, run),
            max_tokens=config.encoder.max_tokens,
            cache=cache,
            precision=config.training.precision,
            overlong=config.encoder.overlong,
            score=score,
        )
    if not was_split:
        write_json(split, dict(steered.split))
        pin_file(run, "split", split)
    for country, data in steered.countries.items():
        pin_rewards(run, country, data.reference)
    scoring = steered.scoring
    say(f"reference rewards: {scoring.num_scored} scored, {scoring.num_cached} from the cache")
    for country, data in steered.countries.items():
        parts = ", ".join(
            f"{part} {(data.part == part).sum()} pairs of {len(set(data.user[data.part == part]))}"
            for part in ("train", "validation", "test")
        )
        say(f"  {country}: {parts} users{data.losses and '; ' + data.losses}")
    return steered
