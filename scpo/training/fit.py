"""One training on one device: model and weighted pairs in, the same model trained out.

This is what `scpo train` runs in its own process and what a lane of a sweep runs in its actor;
it needs no Ray. `scpo.distributed.ray_training` trains on several devices.
"""

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError

from scpo.config import TrainingConfig
from scpo.files.buckets import written_to
from scpo.files.places import Place
from scpo.files.provenance import installed_versions
from scpo.models.classifier import enable_activation_checkpointing, head_digest
from scpo.models.devices import resolve_precision
from scpo.models.export.model_folder import export_reward_model
from scpo.models.folder.contract import ModelFacts
from scpo.models.lora import add_lora, merge_lora
from scpo.models.reward_model import LoadedModel
from scpo.models.training_memory import FILE_BYTES, size_of_file
from scpo.tokens.batches import TrainingSet
from scpo.training.checkpoint_storage import remove_checkpoints
from scpo.training.checkpoints import Checkpoints, TrainingStopped
from scpo.training.engines import Engine, Optimization, TorchEngine
from scpo.training.forward_passes import BatchInputs, model_inputs, plain_forward
from scpo.training.loop import Progress, TrainingResult, count_steps, train_reward_model
from scpo.training.warm_start import rewards_through, sample_texts

# What a checkpoint must share with the training that resumes from it: beginnings of the names.
IDENTITY = ("training.", "data", "head", "precision", "num_steps")

EngineType = TypeVar("EngineType", bound=Engine)


@dataclass(frozen=True)
class Fitted(Generic[EngineType]):
    """A training that is done: the engine holds the trained weights.

    `reward` is the model that the engine was made of, adapters included. Its export holds at most
    `file_bytes` of weights at a time.
    """

    engine: EngineType
    reward: LoadedModel
    inputs: BatchInputs
    result: TrainingResult
    file_bytes: int = FILE_BYTES


def fit_on_device(
    reward: LoadedModel,
    data: TrainingSet,
    config: TrainingConfig,
    *,
    out: Place | None = None,
    checkpoints: Place | None = None,
    report: Callable[[Progress], None] | None = None,
    prove: Callable[..., float] | None = None,
) -> TrainingResult:
    """Train `reward` in place, on its device; adapters are merged into it at the end.

    `out` is a folder or URI of the trained model, or None. `checkpoints` is one to save to and
    resume from, or None for neither; it is removed once the model is written. `report` is called
    after every step, and `prove` proves the warm start, None for `prove_warm_start`.

    Raises:
        TrainingStopped: As of `scpo.training.loop.train_reward_model`, or the model written does
            not give the rewards of the one trained.
    """
    make_engine = partial(TorchEngine, prove=prove)
    fitted = fit_with(make_engine, reward, data, config, checkpoints=checkpoints, report=report)
    if out is not None:
        export_trained(fitted, data, config, out, checkpoints=checkpoints)
    if config.lora is not None:
        merge_lora(fitted.reward)
    return fitted.result


def fit_with(
    make_engine: Callable[[LoadedModel, Optimization], EngineType],
    reward: LoadedModel,
    data: TrainingSet,
    config: TrainingConfig,
    *,
    device: torch.device | None = None,
    checkpoints: Place | None = None,
    save_now: Callable[[], bool] | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Fitted[EngineType]:
    """Train through an engine made for the purpose; every rank must call.

    `make_engine` is an engine's class, or a partial of it. `device` is where the engine computes,
    None for where the model lies; `save_now` is `Checkpoints.ask`. Further arguments as of
    `fit_on_device`, but the checkpoints stay.

    Raises:
        TrainingStopped: As of `scpo.training.loop.train_reward_model`, or ranks disagree.
    """
    torch.manual_seed(config.seed)
    reward.model.eval()
    if config.lora is not None:
        lora = config.lora
        reward = add_lora(
            reward, rank=lora.rank, alpha=lora.alpha, target_modules=lora.target_modules
        )
    if config.activation_checkpointing:
        enable_activation_checkpointing(reward.model)
    inputs = model_inputs(reward)
    if config.max_tokens_per_forward is not None:
        inputs = replace(inputs, max_tokens=config.max_tokens_per_forward)
    head = head_digest(reward.model)[:16]  # whole, before an engine shards it
    num_weights = sum(weight.numel() for weight in reward.model.parameters())
    engine = make_engine(reward, plan_optimization(data, config, device or reward.model.device))
    settings = {**resolved_settings(engine, data, config), "head": head}
    require_agreement(engine, settings)
    own = {name: text for name, text in settings.items() if name.startswith(IDENTITY)}
    result = train_reward_model(
        engine,
        data,
        inputs,
        pairs_per_step=config.pairs_per_step,
        seed=config.seed,
        centring=config.centring,
        checkpoints=(
            None
            if checkpoints is None
            else Checkpoints(checkpoints, config.checkpoint_every, own, save_now)
        ),
        report=report,
    )
    result.settings = settings
    return Fitted(engine, reward, inputs, result, size_of_file(num_weights, engine.world_size))


def export_trained(
    fitted: Fitted[Any],
    data: TrainingSet,
    config: TrainingConfig,
    out: Place,
    *,
    checkpoints: Place | None = None,
) -> None:
    """Write a trained model as one folder, read it back and compare; every rank must call.

    The rewards of some texts of `data` are compared. `out` is a folder or URI, and so is
    `checkpoints`, which is removed afterwards.

    Raises:
        TrainingStopped: The model cannot be written, or does not give the rewards of the one
            trained.
    """
    engine = fitted.engine
    which = sample_texts(data)
    together = plain_forward(which, data.texts.lengths)
    # bf16 would blur the comparison, by more than the whole of a reward that is near zero.
    expected = rewards_through(engine, data.texts, fitted.inputs, [together], precision="fp32")
    weights = engine.weights()
    fault = None
    if engine.rank == 0:
        try:
            with written_to(out) as folder:
                export_reward_model(
                    fitted.reward,
                    folder,
                    texts=data.texts.take(which),
                    expected=expected,
                    weights=weights,
                    file_bytes=fitted.file_bytes,
                    merge=config.lora is None or config.lora.merge,
                    facts=ModelFacts(**data.facts),
                )
        except (RuntimeError, ValueError, OSError, SafetensorError) as error:
            # A full disk is a SafetensorError. Raise on all ranks: none may wait for another.
            fault = f"{out} was not written. {error}"
    deque(weights, maxlen=0)  # what is left: every rank iterates to the end
    if (fault := engine.gather(fault)[0]) is not None:
        raise TrainingStopped(fault)
    if engine.rank == 0 and checkpoints is not None:
        remove_checkpoints(checkpoints)


def plan_optimization(
    data: TrainingSet, config: TrainingConfig, device: torch.device
) -> Optimization:
    """Return what an engine needs to know of a training."""
    return Optimization(
        learning_rate=config.learning_rate,
        num_steps=count_steps(
            data,
            epochs=config.epochs,
            pairs_per_step=config.pairs_per_step,
            seed=config.seed,
        ),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        precision=resolve_precision(config.precision, device),
        schedule=config.schedule,
        warmup_share=config.warmup_share,
        accumulation=config.accumulation,
    )


def resolved_settings(engine: Engine, data: TrainingSet, config: TrainingConfig) -> dict[str, str]:
    """Return what this rank really trains with, as plain texts by name."""
    given = config.model_dump(exclude={"checkpoint_every"})
    return {
        **{f"training.{name}": str(value) for name, value in given.items()},
        "engine": engine.kind,
        "world_size": str(engine.world_size),
        "num_steps": str(engine.optimization.num_steps),
        "precision": engine.optimization.precision,
        "device": engine.device.type,
        "data": data_digest(data),
        **{f"version.{name}": number for name, number in installed_versions().items()},
    }


def require_agreement(engine: Engine, settings: dict[str, str]) -> None:
    """Stop when two ranks train with different settings; every rank must call.

    Raises:
        TrainingStopped: They do; rank, setting and both values are named.
    """
    first, *others = engine.gather(settings)
    for rank, theirs in enumerate(others, 1):
        differing = [name for name in {**first, **theirs} if first.get(name) != theirs.get(name)]
        if differing:
            words = "; ".join(f"{n}: {theirs.get(n)}, not {first.get(n)}" for n in differing)
            raise TrainingStopped(
                f"Every rank must train with the same settings, but rank {rank} differs from "
                f"rank 0 ({words}). Give every node the same software and files."
            )


def data_digest(data: TrainingSet) -> str:
    """Return 16 hexadecimal digits of all that a training set holds but names."""
    digest = hashlib.sha256()
    columns = (data.texts.ids, data.texts.offsets, data.chosen, data.rejected, data.interaction)
    for column in (*columns, data.weights, data.margins, data.reference):
        if column is not None:
            digest.update(f"{column.dtype}{column.shape}".encode())
            digest.update(column.tobytes())
    return digest.hexdigest()[:16]
