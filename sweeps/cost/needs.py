"""What a sweep needs of a cluster: processes with CPUs, GPUs and memory, and disk.

In: a configuration, and the model's config.json; nothing is loaded. Out: plain values, which
`scpo doctor` compares with what the nodes have. They are upper bounds: every text as long as
allowed, no text in two pairs, and float32 where the precision depends on the device.
"""

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from scpo.config import LoraConfig
from scpo.models.devices import forward_tokens
from scpo.models.model_cost import ModelCost, measure_model
from scpo.models.training_memory import FLOAT_BYTES, MOMENT_BYTES, MemoryEstimate, estimate_memory
from sweeps.config import LanesConfig, SweepConfig

_KEPT_CHECKPOINTS = 2  # the newest and the one being written
_MB = 10**6
_WIDER = (2, 4, 8, 16)  # workers of a lane that are proposed
_LEAST_BYTES = 10 * _MB  # records, tables and the page


@dataclass(frozen=True)
class ProcessNeeds:
    """A kind of process of a sweep, and what one of them takes."""

    name: str
    number: int | None  # None for as many as fit
    cpus: float
    gpus: float  # a fraction shares a GPU
    host: dict[str, int]  # bytes of its node's memory, by what takes them
    device: dict[str, int]  # bytes of its GPU, by what takes them; empty without one
    wider: tuple["ProcessNeeds", ...] = ()  # workers of larger lanes, for advice


def estimate_needs(config: SweepConfig) -> tuple[list[ProcessNeeds], int]:
    """Return the kinds of processes that train in a sweep, and the bytes that it writes.

    Raises:
        OSError, ValueError, RuntimeError: As of `model_cost`.
    """
    cost = model_cost(config)
    differ = config.search.lora_rank is not None or config.final.whole
    whole = model_cost(config, whole=True) if config.trains_adapters and differ else cost
    return process_needs(config, cost, whole), disk_needs(config, whole)


def process_needs(
    config: SweepConfig, cost: ModelCost, whole: ModelCost | None = None
) -> list[ProcessNeeds]:
    """Return the kinds of processes that train in a sweep, of this `model_cost`.

    `whole` is the cost in curves and finals, where only the search trains adapters.
    """
    needs = []
    named = {config.lanes_of(stage, c) for stage in ("final", "curve") for c in config.countries}
    for lanes in config.all_lanes():
        trained = whole if whole is not None and lanes in named else cost
        each = lane_memory(config, trained, lanes)
        name = "lane" if lanes.workers == 1 else f"worker of ZeRO stage {lanes.zero_stage}"
        number = lanes.num_lanes
        if lanes.workers > 1:
            number = lanes.workers * (lanes.num_lanes or 1)
        wider = tuple(_wider_lanes(config, trained, lanes))
        needs.append(
            ProcessNeeds(name, number, lanes.cpus, lanes.gpus, each.host, each.device, wider)
        )
    return needs


def _wider_lanes(
    config: SweepConfig, cost: ModelCost, lanes: LanesConfig
) -> Iterator[ProcessNeeds]:
    """Yield a worker of each lane of stage 3 that has more devices, the smallest first."""
    for workers in _WIDER:
        if workers > lanes.workers:
            shape = {"workers": workers, "zero_stage": 3, "gpus": float(lanes.gpus > 0)}
            wider = lanes.model_copy(update=shape)
            each = lane_memory(config, cost, wider)
            name = f"workers: {workers}, zero_stage: 3"
            yield ProcessNeeds(name, workers, wider.cpus, wider.gpus, each.host, each.device)


def model_cost(config: SweepConfig, *, whole: bool = False) -> ModelCost:
    """Return the cost of the sweep's model, as the search trains it or trained whole.

    Raises:
        FileNotFoundError: Its config.json is not here.
        OSError: The hub or the object store does not answer or refuses.
        ValueError: It is of no sequence classifier that transformers knows.
        RuntimeError: It cannot be traced, or LoRA is asked for and peft not installed.
    """
    model, training = config.global_model, config.training
    lora = None if whole and config.final.whole else training.lora
    if config.search.lora_rank is not None and not whole:
        lora = (lora or LoraConfig()).model_copy(update={"rank": config.search.lora_rank[1]})
    return measure_model(
        str(model.name or model.backbone),
        revision=model.revision,
        max_tokens=config.encoder.max_tokens,
        precision="fp32" if training.precision == "auto" else training.precision,
        lora=lora,
        activation_checkpointing=training.activation_checkpointing,
        trust_remote_code=model.trust_remote_code,
    )


def disk_needs(config: SweepConfig, cost: ModelCost) -> int:
    """Return the bytes of models and checkpoints that a sweep writes into its folder."""
    models = len(config.countries) + (config.global_model.name is None)
    written = models * FLOAT_BYTES * cost.weights
    if any(lanes.workers > 1 for lanes in config.all_lanes()):
        checkpoint = FLOAT_BYTES * cost.weights + MOMENT_BYTES * cost.trained
        written += _KEPT_CHECKPOINTS * checkpoint
    return written


def check_room(config: SweepConfig, run: Path) -> None:
    """Refuse a run whose models do not fit on its disk; a model that cannot be measured passes.

    Raises:
        OSError: Less is free than what the run has yet to write.
    """
    try:
        needed = disk_needs(config, model_cost(config))
    except (OSError, ValueError, RuntimeError):
        return  # loading the model will say what is wrong with it
    written = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
    existing = next(folder for folder in (run, *run.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if free < max(needed - written, _LEAST_BYTES):
        raise OSError(
            f"{run} must have {max(needed - written, _LEAST_BYTES) / _MB:,.0f} MB free for models "
            f"and records, but its disk has {free / _MB:,.0f}. Free some, or give another --out."
        )


def lane_memory(config: SweepConfig, cost: ModelCost, lanes: LanesConfig) -> MemoryEstimate:
    """Return the memory of one worker of a lane."""
    training = config.training
    texts = 2 * math.ceil(training.pairs_per_step / (lanes.workers * training.accumulation))
    device = torch.device("cuda" if lanes.gpus > 0 else "cpu")
    largest = training.max_tokens_per_forward or forward_tokens(device)[1]
    per_pass = max(1, largest // config.encoder.max_tokens)
    return estimate_memory(
        cost,
        num_texts=texts,
        num_passes=math.ceil(texts / per_pass),
        accumulation=training.accumulation,
        workers=lanes.workers,
        zero_stage=None if lanes.workers == 1 else lanes.zero_stage,
        offload=lanes.offload,
        keeps_base=lanes.workers == 1,
        use_gpu=lanes.gpus > 0,
    )
