"""A run's interactions and its global model, made if missing.

Each step writes a file into the run's folder and is skipped where that file exists.
"""

from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from scpo.arrays import FloatArray
from scpo.config import DataConfig, TrainingConfig
from scpo.data.interactions import read_interactions
from scpo.data.sources.prepare import prepare_source
from scpo.distributed.ray_start import check_cluster
from scpo.distributed.ray_training import train_on_ray
from scpo.distributed.sharded_scoring import score_texts_sharded
from scpo.files.atomic import write_json
from scpo.files.places import Place, absolute, below
from scpo.models.model_source import PIN_FILE, ModelSource, find_model, pin_model
from scpo.models.reward_model import content_hash
from scpo.text.counts import format_count
from scpo.tokens.batches import TrainingSet
from scpo.tokens.encoding import TokenizedTexts
from scpo.training.global_model import TrainElsewhere, pool_interactions, train_global_model
from scpo.training.loop import TrainingResult
from sweeps.config import Say, SweepConfig
from sweeps.run.pins import pin, pin_file
from sweeps.run.workspace import worker_group


def prepare_table_and_model(
    config: SweepConfig, run: Path, say: Say
) -> tuple[pa.Table, ModelSource]:
    """Return a run's interactions and the source of its global model, both as it was begun with.

    Raises:
        FileNotFoundError: No such model, told before data are prepared.
        ValueError: They are others than those pinned in the run.
        RuntimeError: No cluster answers at RAY_ADDRESS, which would be needed next.
    """
    check_cluster()
    _find_start(config, run)
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


def _find_start(config: SweepConfig, run: Path) -> None:
    """Find the global model, or the backbone that it is still to be trained from."""
    given = config.global_model
    if given.name is not None:
        pin_model(given.name, revision=given.revision, file=run / PIN_FILE)
    elif not (run / "global" / "config.json").is_file():
        find_model(str(given.backbone), revision=given.revision)


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
            f"data: {format_count(sum(c.pairs for c in counts), 'pair')} of "
            f"{format_count(sum(c.users for c in counts), 'user')} "
            f"in {format_count(len(counts), 'country')}; "
            f"{format_count(sum(summary.rejected.values()), 'bad row')} in "
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


def ray_files(run: Path) -> Place:
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
            storage=ray_files(out.parent),
            precision=training.precision,
            **code,
        )
        return result, rewards

    return train
