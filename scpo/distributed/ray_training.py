"""One training on several devices: Ray Train starts the workers, DeepSpeed shards the work.

The driver hands every worker the same arrays and configuration; each worker loads the model,
joins the process group and runs the one training loop. Rank 0 writes the Hugging Face folder.
gloo on CPUs, NCCL on GPUs, one device a worker. When a worker dies, Ray Train starts all of them
again and they go on from the newest checkpoint that verifies: ours, so that neither Ray's index of
checkpoints nor DeepSpeed's `latest` can lead astray.
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

from scpo.choices import Offload, ZeroStage, check_offload
from scpo.config import TrainingConfig
from scpo.distributed.ray_start import CPUS_PER_WORKER, check_capacity, start_ray
from scpo.files.places import Place, absolute, below
from scpo.models.devices import pick_device
from scpo.models.loading import load_reward_model
from scpo.models.model_source import ModelSource, find_model
from scpo.models.reward_model import RewardModel
from scpo.tokens.batches import TrainingSet
from scpo.training.checkpoints import TrainingStopped
from scpo.training.engines import Engine, Optimization, gather_faults
from scpo.training.fit import data_digest, export_trained, fit_with
from scpo.training.loop import TrainingResult


@dataclass(frozen=True)
class Cluster:
    """The workers of one training.

    Attributes:
        workers: Their number, one device each.
        zero_stage: DeepSpeed's, 0 to 3.
        offload: What lies in CPU memory between uses: none, optimizer, or weights with it.
        use_gpu: One GPU a worker, over NCCL; else CPUs, over gloo.
        max_failures: How often the workers are started again after one died.
    """

    workers: int
    zero_stage: ZeroStage = 2
    offload: Offload = "none"
    use_gpu: bool = False
    max_failures: int = 3

    def __post_init__(self) -> None:
        if self.workers < 1 or self.zero_stage not in (0, 1, 2, 3):
            raise ValueError(
                "`workers >= 1` and zero_stage in 0..3 must hold, "
                f"but got {self.workers} and {self.zero_stage}."
            )
        check_offload(self.zero_stage, self.offload)

    @property
    def backend(self) -> str:
        """Return the name of the collectives' library."""
        return "nccl" if self.use_gpu else "gloo"


def train_on_ray(
    model: str | Path | ModelSource,
    data: TrainingSet,
    config: TrainingConfig,
    cluster: Cluster,
    *,
    out: Place,
    checkpoints: Place | None = None,
    trust_remote_code: bool = False,
) -> TrainingResult:
    """Train a reward model on a Ray cluster and write it to `out`.

    Joins or starts Ray where that has not happened. Every call is a fresh Ray Train run.

    Args:
        model: Source of the model to go on from, or a name as of `find_model`; a folder must be
            readable by every worker.
        data: Weighted pairs.
        config: Learning rate, epochs and the rest.
        cluster: The workers.
        out: Folder of the trained model, writable by rank 0, or its URI; Ray's own files go
            beside it.
        checkpoints: Folder to save to and go on from, one that every worker reaches, or its URI;
            None for neither: a worker that dies then costs the whole training.
        trust_remote_code: Whether the checkpoint may bring its own Python code.

    Returns:
        The result of rank 0.

    Raises:
        TrainingStopped: As of `scpo.training.loop.train_reward_model`; it is not tried again.
        RuntimeError: The cluster cannot hold the workers, or workers died too often.
    """
    source = find_model(model)
    start_ray()
    check_capacity(cluster.workers, use_gpu=cluster.use_gpu)
    job = {
        "model": source,
        "data": data,
        "digest": data_digest(data),
        "config": config.model_dump(),
        "zero_stage": cluster.zero_stage,
        "offload": cluster.offload,
        "out": absolute(out),
        "checkpoints": None if checkpoints is None else absolute(checkpoints),
        "backend": cluster.backend,
        "trust_remote_code": trust_remote_code,
    }
    try:
        result: Any = make_trainer(
            _train_worker,
            job,
            cluster,
            name=f"train-{uuid.uuid4().hex[:12]}",
            storage=below(absolute(out).rpartition("/")[0], ".ray-train"),
            failures=FailureConfig(  # type: ignore[call-arg]  # its types are V1's
                max_failures=cluster.max_failures, controller_failure_limit=3
            ),
        ).fit()
    except ray.train.TrainingFailedError as error:  # no RuntimeError of its own
        raise RuntimeError(f"Training on {cluster.workers} workers failed: {error}") from error
    outcome = result.return_value
    if "stopped" in outcome:
        raise TrainingStopped(outcome["stopped"])
    return TrainingResult(**outcome)


def make_trainer(
    loop: Callable[[dict[str, Any]], Any],
    settings: dict[str, Any],
    cluster: Cluster,
    *,
    name: str,
    storage: Place,
    failures: FailureConfig,
    callbacks: Sequence[Any] = (),
) -> TorchTrainer:
    """Return a Ray Train run of a loop on every worker of a cluster.

    Args:
        loop: What each worker runs; what rank 0's returns is the run's result.
        settings: Its argument.
        cluster: The workers.
        name: Of the run, unique in its storage: Ray would go on with an older one.
        storage: Folder for Ray's own files, or its URI.
        failures: How often workers are started again.
        callbacks: Ray Train's.
    """
    environment = {"TOKENIZERS_PARALLELISM": "false"}
    if not cluster.use_gpu:
        environment["DS_ACCELERATOR"] = "cpu"
    return TorchTrainer(
        loop,
        train_loop_config=settings,
        torch_config=TorchConfig(backend=cluster.backend),
        scaling_config=ScalingConfig(
            num_workers=cluster.workers,
            use_gpu=cluster.use_gpu,
            resources_per_worker={"GPU": 1.0} if cluster.use_gpu else {"CPU": CPUS_PER_WORKER},
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
    """Bring DeepSpeed up in a worker, on the process group that Ray Train made.

    DeepSpeed reads DS_ACCELERATOR when it is imported, so not before a worker has it.
    """
    import deepspeed

    from scpo.distributed.deepspeed_internals import skip_compilation

    skip_compilation()
    os.environ["LOCAL_RANK"] = str(ray.train.get_context().get_local_rank())
    deepspeed.init_distributed(dist_backend=backend, verbose=False)


def _train_worker(job: dict[str, Any]) -> dict[str, Any]:
    """Train on one worker; rank 0 saves the model and returns the result."""
    start_deepspeed(job["backend"])
    from scpo.distributed.deepspeed_engine import DeepSpeedEngine

    try:
        return _fit_worker(
            job,
            partial(DeepSpeedEngine, zero_stage=job["zero_stage"], offload=job["offload"]),
        )
    except (TrainingStopped, ValueError, FileNotFoundError) as error:
        # Every rank meets it, and would again: not a failure that another attempt mends.
        return {"stopped": str(error)}


def _fit_worker(
    job: dict[str, Any], make_engine: Callable[[RewardModel, Optimization], Engine]
) -> dict[str, Any]:
    """Load, train and export; every rank must call."""
    config = TrainingConfig.model_validate(job["config"])
    reward = _load_everywhere(job)
    checkpoints = job["checkpoints"]
    device = pick_device() if job["backend"] == "nccl" else torch.device("cpu")
    fitted = fit_with(make_engine, reward.to(device), job["data"], config, checkpoints=checkpoints)
    export_trained(fitted, job["data"], config, job["out"], checkpoints=checkpoints)
    return asdict(fitted.result)


def _load_everywhere(job: dict[str, Any]) -> RewardModel:
    """Return the model; where one rank lacks it or the data, all stop: none may wait for it."""
    fault = None
    try:
        reward = load_reward_model(job["model"], trust_remote_code=job["trust_remote_code"])
        if (received := data_digest(job["data"])) != job["digest"]:
            fault = f"data {job['digest']} were sent, but {received} arrived"
    except (ValueError, OSError) as error:
        fault = str(error)
    if found := gather_faults(fault):
        raise TrainingStopped(f"Every worker must load model and data, but {found}")
    return reward
