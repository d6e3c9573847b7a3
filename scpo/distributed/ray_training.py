"""One training on several devices: Ray Train starts the workers, DeepSpeed shards the work.

The driver sends every worker the same arrays and configuration; each worker loads the model,
joins the process group and runs the one training loop. Rank 0 writes the Hugging Face folder.
When a worker dies, Ray Train restarts all of them and they resume from the newest checkpoint that
verifies. The checkpoints are ours: a damaged one wedges Ray's own index, and DeepSpeed's `latest`
is not verified.
"""

import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import ray.train

from scpo.config import TrainingConfig
from scpo.distributed.worker_group import WorkerGroup, run_on_workers
from scpo.files.places import Place, absolute, below
from scpo.models.loading import load_reward_model
from scpo.models.model_source import ModelSource, find_model
from scpo.models.reward_model import LoadedModel, fresh_model
from scpo.tokens.batches import TrainingSet
from scpo.training.checkpoints import TrainingStopped
from scpo.training.engines import gather_faults
from scpo.training.fit import data_digest, export_trained, fit_with
from scpo.training.loop import TrainingResult

_TRAIN_WORKER = f"{__name__}:_train_worker"


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
    outcome = run_on_workers(_TRAIN_WORKER, job, group, task="Training", storage=storage)
    if "stopped" in outcome:
        raise TrainingStopped(outcome["stopped"])
    return TrainingResult(**outcome)


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
