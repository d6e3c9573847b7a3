"""A worker group: Ray Train runs a loop on several devices at once, one a worker.

gloo on CPUs, NCCL on GPUs. This module imports none of the training stack, which a process that
only starts workers does not need; the loop is named, and found in the workers themselves.
"""

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from scpo.choices import Offload, ZeroStage, check_workers
from scpo.distributed.ray_start import (
    CPUS_PER_WORKER,
    START_TIMEOUT_S,
    can_grow,
    check_capacity,
    places_by_node,
    start_ray,
)
from scpo.distributed.worker_loop import call_by_name
from scpo.files.places import Place, absolute
from scpo.interrupts import keep_handlers
from scpo.models.devices import pick_device

_START_S = 120.0  # for a group whose nodes are there


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


def run_on_workers(
    loop: str,
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
    loop: str,
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
        loop: What each worker runs, "module:function"; what rank 0's returns is the run's result.
        settings: Its argument.
        group: The workers.
        name: Of the run, unique in its storage: Ray would resume an older one.
        storage: Folder for Ray's own files, or its URI.
        failures: How often workers are restarted.
        callbacks: Ray Train's.
    """
    # Of a start of the group; Ray Train's controller takes it from here.
    start_s = START_TIMEOUT_S if can_grow() else _START_S
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", f"{start_s:.0f}")
    on_one_node = max(places_by_node(group.needs), default=0) >= group.number
    environment = {"TOKENIZERS_PARALLELISM": "false"}
    if not group.use_gpu:
        environment["DS_ACCELERATOR"] = "cpu"
    return TorchTrainer(
        call_by_name,
        train_loop_config={
            "loop": loop,
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
