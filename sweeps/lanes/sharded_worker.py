"""A worker of a sharded lane: one loop over jobs, on every rank.

Comes up once: process group, DeepSpeed, model. Then all ranks take job after job from the queue:
a fresh copy of the base weights, a fresh engine, training, export, evaluation with the texts
dealt out; rank 0 reports the outcome, and nothing of the job is left. A job that would fail
again has failed and the loop goes on; any other error ends the worker, and Ray Train starts all
of them again.
"""

import copy
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import ray
import torch

from scpo.arrays import FloatArray, IntArray
from scpo.config import TrainingConfig
from scpo.countries.country_data import CountryData
from scpo.distributed.ray_training import Cluster, start_deepspeed
from scpo.evaluation.held_out import evaluate_margins
from scpo.files.places import Place, below
from scpo.files.provenance import utc_now
from scpo.models.devices import forward_tokens, pick_device
from scpo.models.loading import load_reward_model
from scpo.models.reward_model import RewardModel
from scpo.tokens.batches import TrainingSet, cut_forwards
from scpo.training.checkpoints import TrainingStopped
from scpo.training.engines import Engine, Optimization, gather_faults, gather_from_ranks
from scpo.training.fit import Fitted, export_trained, fit_with
from scpo.training.forward_passes import Forward, plain_forward
from scpo.training.loop import count_steps
from scpo.training.warm_start import rewards_through
from sweeps.jobs.job import Job, job_training, select_pairs, training_set
from sweeps.jobs.job_records import make_record
from sweeps.run.workspace import Workspace


def run_worker(settings: dict[str, Any]) -> str | None:
    """Train job after job on one worker; return why the lane must end, None when it was closed."""
    queue, cluster = settings["queue"], settings["cluster"]
    rank = int(torch.distributed.get_rank())
    begun = ray.get(queue.begin.remote()) if rank == 0 else None
    # Before anything that may fail, so that it is counted.
    index, fault = gather_from_ranks(begun)[0]
    if fault is not None:
        return str(fault)
    start_deepspeed(cluster.backend)
    from scpo.distributed.deepspeed_engine import DeepSpeedEngine

    workspace = ray.get(settings["workspace"])
    base, faults = _load_everywhere(workspace)
    if base is None:
        return faults
    make_engine = partial(DeepSpeedEngine, zero_stage=cluster.zero_stage, offload=cluster.offload)
    worker = _Worker(workspace, cluster, settings["folder"], base, make_engine)
    gc.collect()
    gc.freeze()  # imports and base weights stay: after a job only its own objects are looked at
    while (given := ray.get(queue.take.remote(index, rank))) is not None:
        outcome = worker.do(Job(**given))
        if rank == 0:
            ray.get(queue.report.remote(index, outcome))
        index += 1
    return None


@dataclass(frozen=True)
class _Worker:
    """What a rank keeps between jobs; `base` holds the base weights in CPU memory."""

    workspace: Workspace
    cluster: Cluster
    folder: Place
    base: RewardModel
    make_engine: Callable[[RewardModel, Optimization], Any]

    def do(self, job: Job) -> dict[str, str]:
        """Return the outcome of a job for the queue (rank 0's counts); nothing is left of it."""
        engines: list[Any] = []

        def make_engine(reward: RewardModel, optimization: Optimization) -> Any:
            engines.append(self.make_engine(reward, optimization))
            return engines[-1]

        try:
            return self._train(job, make_engine)
        except (TrainingStopped, ValueError, FileNotFoundError) as error:
            # Every rank meets it, and would again: not a failure that another attempt mends.
            return {"failed": f"{type(error).__name__}: {error}"}
        finally:
            while engines:
                release_engine(engines.pop())
            gc.collect()  # engine and model refer to each other
            if self.cluster.use_gpu:
                torch.cuda.empty_cache()

    def _train(
        self, job: Job, make_engine: Callable[[RewardModel, Optimization], Any]
    ) -> dict[str, str]:
        """Train, export and evaluate; every rank must call."""
        started, clock = utc_now(), time.perf_counter()
        data = self.workspace.countries[job.country]
        config = job_training(job, self.workspace.training)
        labelled, selection = select_pairs(job, data)
        pairs = training_set(data, labelled, selection)
        # A copy, not the weights put back: ZeRO leaves hooks, views and empty shards in a model.
        fresh = replace(self.base, model=copy.deepcopy(self.base.model))
        device = pick_device() if self.cluster.use_gpu else torch.device("cpu")
        fitted = fit_with(
            make_engine,
            fresh.to(device),
            pairs,
            config,
            checkpoints=self._checkpoints(job, pairs, config),
        )
        if job.save_to is not None:
            export_trained(fitted, pairs, config, job.save_to)
        trained = time.perf_counter()
        margin = score_part(fitted, data, job.part)
        if fitted.engine.rank != 0:
            return {}
        evaluation = evaluate_margins(margin, data, job.part)
        times: dict[str, float | str] = {
            "started": started,
            "train_s": fitted.result.train_s,
            "setup_s": trained - clock - fitted.result.train_s,
            "evaluate_s": time.perf_counter() - trained,
            "wall_s": time.perf_counter() - clock,
        }
        name = f"deepspeed-zero{self.cluster.zero_stage}-x{self.cluster.workers}"
        record = make_record(
            job, data, labelled, selection, fitted.result, evaluation, times, name
        )
        return {"record": record.model_dump_json()}

    def _checkpoints(self, job: Job, pairs: TrainingSet, config: TrainingConfig) -> Place | None:
        """Return the folder of a job's checkpoints; None where saving costs more than a repeat.

        A training always saves its last step, for the export.
        """
        num_steps = count_steps(
            pairs, epochs=config.epochs, pairs_per_step=config.pairs_per_step, seed=config.seed
        )
        if job.save_to is None and num_steps <= config.checkpoint_every:
            return None
        return checkpoints_of(job, self.folder)


def release_engine(engine: Any) -> None:
    """Let go of a `DeepSpeedEngine`, the only one of this process, and of its model.

    DeepSpeed's own `destroy` leaves two references of ZeRO-3 behind, in a list of modules and
    in the cache of a method.
    """
    from deepspeed.runtime.zero import parameter_offload, partitioned_param_coordinator

    engine.engine.destroy()
    parameter_offload.FWD_MODULE_STACK.clear()
    coordinator = vars(partitioned_param_coordinator.PartitionedParameterCoordinator)
    traced = coordinator["_PartitionedParameterCoordinator__params_to_release"]
    traced.__closure__[0].cell_contents.cache_clear()


def score_part(fitted: Fitted[Any], data: CountryData, part: str) -> FloatArray:
    """Return the margin of each pair of a part through a sharded engine; every rank must call.

    Args:
        fitted: The training whose weights score.
        data: The country's arrays.
        part: Whose pairs.
    """
    engine: Engine = fitted.engine
    which = data.pairs_in(part)
    pairs = data.training_set(which, np.ones(len(which)))
    shares = share_forwards(pairs.texts.lengths, engine.world_size, engine.device)
    mine = rewards_through(engine, pairs, fitted.inputs, shares[engine.rank])
    rewards = np.zeros(len(pairs.texts))
    for forwards, given in zip(shares, engine.gather(mine), strict=True):
        rewards[np.concatenate([forward.texts for forward in forwards])] = given
    return rewards[pairs.chosen] - rewards[pairs.rejected]


def share_forwards(lengths: IntArray, num_ranks: int, device: torch.device) -> list[list[Forward]]:
    """Return the forward passes of each rank over all texts: equally many, of like lengths.

    A rank that has fewer takes its last text again; a rank without texts takes text 0.

    Args:
        lengths: Tokens of each text.
        num_ranks: Number of ranks.
        device: A rank's kind of device.
    """
    longest_first = np.argsort(-lengths, kind="stable")
    smallest, largest = forward_tokens(device)
    shares = []
    for rank in range(num_ranks):
        texts = longest_first[rank::num_ranks]
        if len(texts) == 0:
            texts = np.zeros(1, dtype=np.int64)
        cut = cut_forwards(texts, lengths, max_tokens=largest, min_tokens=smallest)
        shares.append([plain_forward(part, lengths) for part in cut])
    most = max(map(len, shares))
    for share in shares:  # sharded weights: every rank must run as many
        share += [plain_forward(share[-1].texts[-1:], lengths)] * (most - len(share))
    return shares


def checkpoints_of(job: Job, folder: Place) -> Place:
    """Return the folder of a job's checkpoints; another setting never goes on from them."""
    return below(folder, "checkpoints", f"{job.trial_id}-{job.config_hash}")


def _load_everywhere(workspace: Workspace) -> tuple[RewardModel | None, str]:
    """Return the model on the CPU; where one rank lacks it, none and why: none may wait."""
    reward, fault = None, None
    try:
        reward = load_reward_model(workspace.model, trust_remote_code=workspace.trust_remote_code)
    except (ValueError, OSError) as error:
        fault = str(error)
    if found := gather_faults(fault):
        return None, f"Every worker must load the model, but {found}"
    return reward, ""
