"""One training on several devices: Ray Train starts the workers, DeepSpeed shards the work.

The driver sends every worker the same arrays and configuration; each worker loads the model,
joins the process group and runs the one training loop. Rank 0 writes the Hugging Face folder.
gloo on CPUs, NCCL on GPUs, one device a worker. When a worker dies, Ray Train restarts all of
them and they resume from the newest checkpoint that verifies. The checkpoints are ours: a damaged
one wedges Ray's own index, and DeepSpeed's `latest` is not verified.
"""

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from scpo.choices import Offload, ZeroStage, check_workers
from scpo.config import TrainingConfig
from scpo.distributed.ray_start import (
    CPUS_PER_WORKER,
    check_capacity,
    places_by_node,
    start_ray,
)
from scpo.distributed.worker_loop import call_by_name
from scpo.files.places import Place, absolute, below
from scpo.interrupts import keep_handlers
from scpo.models.devices import pick_device
from scpo.models.loading import load_reward_model
from scpo.models.model_source import ModelSource, find_model
from scpo.models.reward_model import LoadedModel, fresh_model
from scpo.tokens.batches import TrainingSet
from scpo.training.checkpoints import TrainingStopped
from scpo.training.engines import gather_faults
from scpo.training.fit import data_digest, export_trained, fit_with
from scpo.training.loop import TrainingResult


@dataclass(frozen=True)
class WorkerGroup:
    """The workers of one training."""

    number: int  # one device each
    zero_stage: ZeroStage = 2  # DeepSpeed's, 0 to 3
    offload: Offload = "none"  # what CPU memory holds between uses
    use_gpu: bool = False  # one GPU a worker, over NCCL; else CPUs, over gloo
    max_failures: int = 3  # restarts of the workers after one died
    cpus: float | None = None  # of a worker; None: 0.9, and none beside a GPU

    def __post_init__(self) -> None:
        check_workers(self.number, self.zero_stage, self.offload)

    @property
    def backend(self) -> str:
        """Return the name of the collectives' library."""
        return "nccl" if self.use_gpu else "gloo"

    @property
    def needs(self) -> dict[str, float]:
        """Return what a worker takes, by Ray's names."""
        cpus = self.cpus
        if cpus is None:
            cpus = 0.0 if self.use_gpu else CPUS_PER_WORKER
        return {name: need for name, need in (("CPU", cpus), ("GPU", float(self.use_gpu))) if need}

    def device(self) -> torch.device:
        """Return the device of the worker that asks."""
        return pick_device() if self.use_gpu else torch.device("cpu")


def train_on_ray(
    model: str | Path | ModelSource,
    data: TrainingSet,
    config: TrainingConfig,
    group: WorkerGroup,
    *,
    out: Place,
    checkpoints: Place | None = None,
    new_head_seed: int | None = None,
    trust_remote_code: bool = False,
) -> TrainingResult:
    """Train a reward model on a Ray cluster and write it to `out`.

    Starts or joins Ray if needed. Every call is a fresh Ray Train run.

    Args:
        model: Source of the model to start from, or a name as of `find_model`; a folder must be
            readable by every worker.
        data: Weighted pairs.
        config: Learning rate, epochs and the rest.
        group: The workers.
        out: Folder of the trained model, writable by rank 0, or its URI; Ray's own files go
            beside it.
        checkpoints: Folder to save to and resume from, one that every worker reaches, or its
            URI; with None a worker that dies costs the whole training.
        new_head_seed: Seed of a fresh reward head on a backbone; None for a reward model.
        trust_remote_code: Whether the checkpoint may bring its own Python code.

    Returns:
        The result of rank 0.

    Raises:
        TrainingStopped: As of `scpo.training.loop.train_reward_model`; it is not retried.
        RuntimeError: The cluster cannot hold the workers, or workers died too often.
    """
    source = find_model(model)
    job = {
        "model": source,
        "data": data,
        "digest": data_digest(data),
        "config": config,
        "group": group,
        "out": absolute(out),
        "checkpoints": None if checkpoints is None else absolute(checkpoints),
        "new_head_seed": new_head_seed,
        "trust_remote_code": trust_remote_code,
    }
    storage = below(absolute(out).rpartition("/")[0], ".ray-train")
    outcome = run_on_workers(_train_worker, job, group, task="Training", storage=storage)
    if "stopped" in outcome:
        raise TrainingStopped(outcome["stopped"])
    return TrainingResult(**outcome)


def run_on_workers(
    loop: Callable[[dict[str, Any]], Any],
    settings: dict[str, Any],
    group: WorkerGroup,
    *,
    task: str,
    storage: Place,
) -> Any:
    """Run a loop once on every worker of a group, and return what rank 0's returns.

    Starts or joins Ray if needed. `task` says what it does, for messages; other arguments as of
    `make_trainer`.

    Raises:
        RuntimeError: The cluster cannot hold the workers, or workers died too often.
    """
    start_ray()
    check_capacity(group.number, group.needs)
    trainer = make_trainer(
        loop,
        settings,
        group,
        name=f"{task.lower()}-{uuid.uuid4().hex[:12]}",
        storage=storage,
        failures=FailureConfig(  # type: ignore[call-arg]  # its types are V1's
            max_failures=group.max_failures, controller_failure_limit=3
        ),
    )
    try:
        with keep_handlers():
            result: Any = trainer.fit()
    except ray.train.TrainingFailedError as error:  # no RuntimeError of its own
        raise RuntimeError(f"{task} on {group.number} workers failed: {error}") from error
    return result.return_value


def make_trainer(
    loop: Callable[[dict[str, Any]], Any],
    settings: dict[str, Any],
    group: WorkerGroup,
    *,
    name: str,
    storage: Place,
    failures: FailureConfig,
    callbacks: Sequence[Any] = (),
) -> TorchTrainer:
    """Return a Ray Train run of a loop on every worker of a cluster.

    Args:
        loop: What each worker runs, a function of a module; what rank 0's returns is the run's
            result.
        settings: Its argument.
        group: The workers.
        name: Of the run, unique in its storage: Ray would resume an older one.
        storage: Folder for Ray's own files, or its URI.
        failures: How often workers are restarted.
        callbacks: Ray Train's.
    """
    on_one_node = max(places_by_node(group.needs), default=0) >= group.number
    environment = {"TOKENIZERS_PARALLELISM": "false"}
    if not group.use_gpu:
        environment["DS_ACCELERATOR"] = "cpu"
    return TorchTrainer(
        call_by_name,
        train_loop_config={
            "loop": f"{loop.__module__}:{loop.__qualname__}",
            "settings": ray.put(settings),
        },
        torch_config=TorchConfig(backend=group.backend),
        scaling_config=ScalingConfig(
            num_workers=group.number,
            use_gpu=group.use_gpu,
            resources_per_worker=group.needs,
            placement_strategy="STRICT_PACK" if on_one_node else "PACK",
        ),
        run_config=RunConfig(  # type: ignore[call-arg]  # its types are V1's
            name=name,
            storage_path=absolute(storage),
            failure_config=failures,
            callbacks=list(callbacks),
            worker_runtime_env={"env_vars": environment},
        ),
    )


def start_deepspeed(backend: str) -> None:
    """Start DeepSpeed in a worker, on the process group that Ray Train made.

    DeepSpeed reads DS_ACCELERATOR when it is imported, so not before a worker has it.
    """
    import deepspeed

    from scpo.distributed.deepspeed_internals import skip_compilation

    skip_compilation()
    os.environ["LOCAL_RANK"] = str(ray.train.get_context().get_local_rank())
    deepspeed.init_distributed(dist_backend=backend, verbose=False)


def load_everywhere(
    model: ModelSource,
    *,
    trust_remote_code: bool,
    new_head_seed: int | None = None,
    fault: str | None = None,
) -> LoadedModel:
    """Load the model on every rank; if one rank cannot, all stop, so that none waits for it.

    Its weights lie in mapped files, in the precision of these, on the CPU.

    Args:
        model: Its source.
        trust_remote_code: Whether the checkpoint may bring its own Python code.
        new_head_seed: As of `train_on_ray`.
        fault: What this rank has found wrong already.

    Raises:
        TrainingStopped: A rank has a fault, or cannot load the model.
    """
    try:
        reward = load_reward_model(
            model,
            new_head=new_head_seed is not None,
            head_seed=new_head_seed or 0,
            as_stored=True,
            trust_remote_code=trust_remote_code,
        )
    except (ValueError, OSError) as error:
        fault = str(error)
    if faults := gather_faults(fault):
        raise TrainingStopped(f"Every worker must load the model and the data, but {faults}")
    return reward


class NoticeOfLoss:
    """Tells once of each node of the run that its cloud is about to take away.

    Ray hears of it from a node that drains: one of a spot market, of an autoscaler or of
    `ray drain-node`. Every rank must ask as often.
    """

    def __init__(self) -> None:
        self.known: set[str] = set()

    def __call__(self) -> bool:
        """Return whether a node was named since the last call."""
        info = ray.train.get_preemption_info()
        going = set() if info is None else set(info.preempted_node_ids)
        is_new = not going <= self.known
        self.known |= going
        return is_new


def _train_worker(job: dict[str, Any]) -> dict[str, Any]:
    """Train and export on one worker; rank 0 returns the result."""
    group, config, data = job["group"], job["config"], job["data"]
    start_deepspeed(group.backend)
    from scpo.distributed.deepspeed_engine import DeepSpeedEngine

    make_engine = partial(DeepSpeedEngine, zero_stage=group.zero_stage, offload=group.offload)
    fault = None
    if (received := data_digest(data)) != job["digest"]:
        fault = f"data {job['digest']} were sent, but {received} arrived"
    try:
        base = load_everywhere(
            job["model"],
            trust_remote_code=job["trust_remote_code"],
            new_head_seed=job["new_head_seed"],
            fault=fault,
        )
        device = group.device()
        reward = fresh_model(base, device, stays_mapped=group.zero_stage == 3)
        fitted = fit_with(
            make_engine,
            reward,
            data,
            config,
            device=device,
            checkpoints=job["checkpoints"],
            save_now=NoticeOfLoss(),
        )
        export_trained(fitted, data, config, job["out"], checkpoints=job["checkpoints"])
    except (TrainingStopped, ValueError, FileNotFoundError) as error:
        # Every rank raises it, and another attempt would again.
        return {"stopped": str(error)}
    return asdict(fitted.result)
