"""One training on several devices: Ray Train starts the workers, DeepSpeed shards the work.

The driver hands every worker the same arrays and configuration; each worker loads the model,
joins the process group and runs the one training loop. Rank 0 writes the Hugging Face folder.
gloo on CPUs, NCCL on GPUs, one device a worker.
"""

import logging
import os
import uuid
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from scpo.batches import TrainingSet
from scpo.config import TrainingConfig
from scpo.devices import pick_device
from scpo.fitting import fit_with
from scpo.model import load_reward_model, save_reward_model
from scpo.training import TrainingResult

CPUS_PER_WORKER = 0.9  # leaves room on two cores for a driver that holds a fraction of one


def train_on_ray(
    model: Path,
    data: TrainingSet,
    config: TrainingConfig,
    *,
    workers: int,
    zero_stage: int,
    out: Path,
    use_gpu: bool = False,
    trust_remote_code: bool = False,
) -> TrainingResult:
    """Train a reward model on a Ray cluster and write it to `out`.

    Joins or starts Ray where that has not happened. Every call is a fresh Ray Train run.

    Args:
        model: Folder of the model to go on from, readable by every worker.
        data: Weighted pairs.
        config: Learning rate, epochs and the rest.
        workers: Number of workers, one device each.
        zero_stage: DeepSpeed's, 0 to 3.
        out: Folder of the trained model, writable by rank 0; Ray's own files go beside it.
        use_gpu: One GPU a worker, over NCCL; else CPUs, over gloo.
        trust_remote_code: Whether the checkpoint may bring its own Python code.

    Returns:
        The result of rank 0.

    Raises:
        ValueError: `workers >= 1` does not hold, or the stage is not 0 to 3.
        RuntimeError: The cluster cannot hold the workers, or the training failed.
    """
    if workers < 1 or zero_stage not in (0, 1, 2, 3):
        raise ValueError(
            "`workers >= 1` and zero_stage in 0..3 must hold, "
            f"but got {workers} and {zero_stage}."
        )
    start_ray()
    _check_capacity(workers, use_gpu=use_gpu)
    resources = {"GPU": 1.0} if use_gpu else {"CPU": CPUS_PER_WORKER}
    environment = {"TOKENIZERS_PARALLELISM": "false"}
    if not use_gpu:
        environment["DS_ACCELERATOR"] = "cpu"
    trainer = TorchTrainer(
        _train_worker,  # type: ignore[arg-type]  # V2 takes a loop that returns a value
        train_loop_config={
            "model": str(model.resolve()),
            "data": data,
            "config": config.model_dump(),
            "zero_stage": zero_stage,
            "out": str(out.resolve()),
            "backend": "nccl" if use_gpu else "gloo",
            "trust_remote_code": trust_remote_code,
        },
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=use_gpu, resources_per_worker=resources
        ),
        run_config=RunConfig(  # type: ignore[call-arg]  # its types are V1's
            name=f"train-{uuid.uuid4().hex[:12]}",
            storage_path=str((out.parent / ".ray-train").resolve()),
            failure_config=FailureConfig(  # type: ignore[call-arg]  # its types are V1's
                max_failures=0, controller_failure_limit=3
            ),
            worker_runtime_env={"env_vars": environment},
        ),
    )
    try:
        result: Any = trainer.fit()
    except ray.train.TrainingFailedError as error:  # no RuntimeError of its own
        raise RuntimeError(f"Training on {workers} workers failed: {error}") from error
    return TrainingResult(**result.return_value)


def start_ray() -> None:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine, loopback only."""
    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    for name in ("ray._private.authentication", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)  # records and errors say it better
    # Ray must leave CUDA_VISIBLE_DEVICES alone for actors without GPUs (its coming default).
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "120")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # verbose=0 is silent only without it
    if "RAY_ADDRESS" in os.environ:
        ray.init(address=os.environ["RAY_ADDRESS"], **quiet)
    else:
        ray.init(address="local", include_dashboard=False, **quiet)


def _check_capacity(workers: int, *, use_gpu: bool) -> None:
    """Refuse workers that the cluster could never start: Ray would wait for ever."""
    name, need = ("GPU", float(workers)) if use_gpu else ("CPU", workers * CPUS_PER_WORKER)
    have = float(ray.cluster_resources().get(name, 0.0))
    if need > have + 1e-9:
        raise RuntimeError(
            f"{workers} workers need {need:g} {name}s, but the cluster has {have:g}. "
            "Ask for fewer workers, or add nodes."
        )


def _train_worker(job: dict[str, Any]) -> dict[str, Any] | None:
    """Train on one worker; rank 0 saves the model and returns the result."""
    # DeepSpeed reads DS_ACCELERATOR when it is imported, so not before a worker has it.
    import deepspeed

    from scpo.deepspeed_engine import DeepSpeedEngine

    # Serves inference only, and would compile for most of a minute on first use.
    deepspeed.ops.__compatible_ops__.pop("deepspeed_shm_comm", None)
    os.environ["LOCAL_RANK"] = str(ray.train.get_context().get_local_rank())
    deepspeed.init_distributed(dist_backend=job["backend"], verbose=False)
    reward = load_reward_model(
        job["model"], trust_remote_code=job["trust_remote_code"]
    ).to(pick_device())
    config = TrainingConfig.model_validate(job["config"])
    make_engine = partial(DeepSpeedEngine, zero_stage=job["zero_stage"])
    engine, result = fit_with(make_engine, reward, job["data"], config)
    state = engine.gather_weights()
    if state is None:
        return None
    save_reward_model(reward, Path(job["out"]), state)
    return asdict(result)
