"""What a sweep needs before its first trial: data, global model, reference rewards.

Each step writes a file into the run's folder and is skipped where that file exists.
"""

import os
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pyarrow as pa

from scpo.arrays import FloatArray
from scpo.config import DataConfig, TrainingConfig
from scpo.countries.build import Score, SteeredCountries, encoder_differences, steer_countries
from scpo.countries.features import KeptFeatures, features_folder
from scpo.countries.reference_cache import score_with_cache
from scpo.data.interactions import read_interactions
from scpo.data.sources.prepare import prepare_source
from scpo.data.splits import SPLIT_FILE
from scpo.distributed.ray_scoring import score_on_ray
from scpo.distributed.ray_start import check_cluster
from scpo.distributed.ray_training import train_on_ray
from scpo.distributed.sharded_scoring import score_sharded, score_texts_sharded
from scpo.files.atomic import write_json
from scpo.files.places import Place, absolute, below
from scpo.files.shared_cache import local_cache, shared_cache
from scpo.models.devices import pick_device, resolve_precision
from scpo.models.loading import load_reward_model
from scpo.models.model_source import PIN_FILE, ModelSource, find_model, pin_model
from scpo.models.reward_model import LoadedModel, content_hash
from scpo.tokens.batches import TrainingSet
from scpo.tokens.encoding import TokenizedTexts
from scpo.training.global_model import TrainElsewhere, pool_interactions, train_global_model
from scpo.training.loop import TrainingResult
from sweeps.config import Say, SweepConfig
from sweeps.run.pins import pin, pin_file, pin_rewards
from sweeps.run.run_folder import split_of_run
from sweeps.run.worker_group import worker_group


def prepare_all(config: SweepConfig, run: Path, say: Say) -> tuple[ModelSource, SteeredCountries]:
    """Return the source of the global model and each country's arrays, made if missing."""
    table, model = prepare_table_and_model(config, run, say)
    return model, prepare_countries(config, table, model, run, say)


def prepare_table_and_model(
    config: SweepConfig, run: Path, say: Say
) -> tuple[pa.Table, ModelSource]:
    """Return a run's interactions and the source of its global model, both as it was begun with.

    Raises:
        ValueError: They are others than those pinned in the run.
        RuntimeError: No cluster answers at RAY_ADDRESS, which would be needed next.
    """
    check_cluster()
    out = run / "data"
    given = Path(str(config.data.path)) if config.data.source == "prepared" else out
    file = given if given.is_file() else given / "interactions.parquet"
    if was_there := file.is_file():
        pin_file(run, "interactions", file)
    table = prepare_interactions(config.data, out, say)
    if not was_there:
        pin_file(run, "interactions", file)
    model = prepare_global_model(config, table, run / "global", say)
    if (source := run / PIN_FILE).is_file():
        pin_file(run, "source of the global model", source)
    pin(run, "global model", content_hash(model))
    return table, model


def prepare_interactions(config: DataConfig, out: Path, say: Say) -> pa.Table:
    """Return the interactions of a configuration, prepared into `out` if missing."""
    if config.source == "prepared":
        if config.path is None:
            raise ValueError("data.path must name the folder of prepared data.")
        return read_interactions(Path(config.path))
    if not (out / "interactions.parquet").is_file():
        summary = prepare_source(config, out)
        counts = summary.countries.values()
        say(
            f"data: {sum(c.pairs for c in counts)} pairs of {sum(c.users for c in counts)} users "
            f"in {len(counts)} countries; {sum(summary.rejected.values())} bad rows in "
            f"{out / 'quarantine.jsonl'}"
        )
    return read_interactions(out)


def prepare_global_model(config: SweepConfig, table: pa.Table, out: Path, say: Say) -> ModelSource:
    """Return the source of the global model, trained into `out` if missing."""
    given = config.global_model
    if given.name is not None:
        return pin_model(given.name, revision=given.revision, file=out.parent / PIN_FILE)
    if (out / "config.json").is_file():
        return find_model(out)
    pooled = pool_interactions(
        table,
        given,
        exclude=config.countries,
        only=config.global_countries,
        on_bad_rows=config.data.on_bad_rows,
        quarantine=out.parent / "quarantine-extra-pairs.jsonl",
        seed=config.training.seed,
    )
    result = train_global_model(
        pooled,
        given,
        config.training,
        out=out,
        max_tokens=config.encoder.max_tokens,
        overlong=config.encoder.overlong,
        train=_sharded_training(config),
    )
    write_json(out.parent / "global.json", asdict(result))
    say(result.in_words())
    return find_model(out)


def _ray_files(run: Path) -> Place:
    """Return the folder of Ray Train's own files in a run, which no bucket gets."""
    return below(absolute(run), ".sharded")


def _sharded_training(config: SweepConfig) -> TrainElsewhere | None:
    """Return how the global model is trained, None for this process."""
    given = config.global_model
    lanes = given.lanes or config.lanes
    if lanes.workers == 1:
        return None
    group = worker_group(lanes)

    def train(
        pairs: TrainingSet, training: TrainingConfig, out: Path, texts: TokenizedTexts
    ) -> tuple[TrainingResult, FloatArray]:
        source = find_model(str(given.backbone), revision=given.revision)
        checkpoints = out.with_name(f"{out.name}.checkpoints")
        code = {"trust_remote_code": given.trust_remote_code}
        result = train_on_ray(
            source,
            pairs,
            training,
            group,
            out=out,
            checkpoints=checkpoints,
            new_head_seed=training.seed,
            **code,
        )
        rewards = score_texts_sharded(
            out,
            texts,
            group=group,
            storage=_ray_files(out.parent),
            precision=training.precision,
            **code,
        )
        return result, rewards

    return train


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
        group, storage = worker_group(config.lanes), _ray_files(run)
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
