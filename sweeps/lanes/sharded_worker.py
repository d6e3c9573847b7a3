"""A worker of a sharded lane: one loop over jobs, on every rank.

It starts once: process group, DeepSpeed, model. Then all ranks take job after job from the queue:
a fresh copy of the base weights, a fresh engine, training, export, evaluation with the texts
divided among the ranks; rank 0 reports the outcome, and nothing of the job is left. A job that
would fail on every attempt is recorded as failed and the loop continues; any other error ends
the worker, and Ray Train restarts all of them.
"""

import gc
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import RayActorError

from scpo.arrays import FloatArray
from scpo.config import TrainingConfig
from scpo.countries.country_data import CountryData
from scpo.distributed.ray_training import NoticeOfLoss, load_everywhere, start_deepspeed
from scpo.distributed.sharded_scoring import rewards_of_all
from scpo.distributed.worker_group import WorkerGroup
from scpo.files.places import Place, below
from scpo.models.reward_model import LoadedModel, fresh_model
from scpo.tokens.batches import TrainingSet
from scpo.training.checkpoints import TrainingStopped
from scpo.training.engines import Optimization, gather_from_ranks
from scpo.training.fit import Fitted, export_trained, fit_with
from scpo.training.loop import TrainingResult, count_steps
from sweeps.jobs.folds import folds_of
from sweeps.jobs.job import Job
from sweeps.jobs.run_job import train_and_evaluate
from sweeps.lanes.hangs.signs import Signs
from sweeps.lanes.job_queue import checkpoints_of
from sweeps.ledger.records import TrialRecord
from sweeps.run.workspace import Workspace


def run_worker(settings: dict[str, Any]) -> str | None:
    """Run job after job on one worker; return why the lane must end, None when it was closed."""
    rank = int(torch.distributed.get_rank())
    with closing(Signs(settings["watched"], rank)) as signs:
        return _run_jobs(settings, rank, signs)


def _run_jobs(settings: dict[str, Any], rank: int, signs: Signs) -> str | None:
    queue, group = settings["queue"], settings["group"]
    # Before anything that may fail, so that the queue counts this start.
    begun = _begin(queue) if rank == 0 else None
    index, fault = gather_from_ranks(begun)[0]
    if fault is not None:
        return str(fault)
    if rank == 0 and signs.watched is not None:
        room, watched = ray.util.get_current_placement_group(), signs.watched
        watched.book.keep_room.remote(watched.lane, room, queue)
    start_deepspeed(group.backend)
    from scpo.distributed.deepspeed_engine import DeepSpeedEngine

    workspace = ray.get(settings["workspace"])
    try:
        base = load_everywhere(workspace.model, trust_remote_code=workspace.trust_remote_code)
    except TrainingStopped as error:
        return str(error)
    make_engine = partial(DeepSpeedEngine, zero_stage=group.zero_stage, offload=group.offload)
    worker = JobWorker(workspace, group, settings["folder"], base, make_engine, NoticeOfLoss)
    gc.collect()
    gc.freeze()  # imports and base weights stay: after a job only its own objects are looked at
    while (taken := ray.get(queue.take.remote(index, rank))) is not None:
        job = Job(**taken["job"])
        with signs.working(job.trial_id):
            outcome = worker.run(job, taken["fold"])
        if rank == 0:
            ray.get(queue.report.remote(index, outcome))
        index += 1
    return None


def _begin(queue: Any) -> tuple[int, str | None]:
    """Return what `JobQueue.begin` does; a queue that is gone ends the lane."""
    try:
        return tuple(ray.get(queue.begin.remote()))
    except RayActorError:
        return 0, "Its queue is closed."


@dataclass
class JobWorker:
    """What a rank keeps between jobs."""

    workspace: Workspace
    group: WorkerGroup
    folder: Place  # of the checkpoints of jobs in flight
    base: LoadedModel  # the base weights, mapped from files
    make_engine: Callable[[LoadedModel, Optimization], Any]  # it has a method `release`
    make_notice: Callable[[], Callable[[], bool]] | None = None  # of a job; as `Checkpoints.ask`
    engine: Any = None  # of the job in flight

    @property
    def engine_name(self) -> str:
        """Return the name of the engine and its size, for records."""
        return f"deepspeed-zero{self.group.zero_stage}-x{self.group.number}"

    def run(self, job: Job, fold: int = 0) -> dict[str, str]:
        """Return the outcome of a job on a fold, as of `JobQueue.report`; every rank must call."""
        try:
            record = self._train(job, fold)
            record = record.model_copy(update={"devices": self.group.number})
            return {"record": record.model_dump_json()}
        except (TrainingStopped, ValueError, FileNotFoundError) as error:
            # Every rank raises it, and another attempt would again.
            return {"failed": f"{type(error).__name__}: {error}"}
        finally:
            if self.engine is not None:
                self.engine.release()
            self.engine = None
            gc.collect()  # engine and model refer to each other
            if self.group.use_gpu:
                torch.cuda.empty_cache()

    def _train(self, job: Job, fold: int) -> TrialRecord:
        data = folds_of(self.workspace.countries[job.country], job.folds)[fold]
        # A new model, not the weights put back: ZeRO leaves hooks, views and empty shards in one.
        device = self.group.device()
        fresh = fresh_model(self.base, device, stays_mapped=self.group.zero_stage == 3)
        trained: list[Fitted[Any]] = []

        def make_engine(reward: LoadedModel, optimization: Optimization) -> Any:
            self.engine = self.make_engine(reward, optimization)
            return self.engine

        def fit(pairs: TrainingSet, config: TrainingConfig) -> TrainingResult:
            checkpoints = self.checkpoints_for(job, fold, pairs, config)
            fitted = fit_with(
                make_engine,
                fresh,
                pairs,
                config,
                device=device,
                checkpoints=checkpoints,
                save_now=None if self.make_notice is None else self.make_notice(),
            )
            if job.save_to is not None:
                export_trained(fitted, pairs, config, job.save_to)
            trained.append(fitted)
            return fitted.result

        return train_and_evaluate(
            job,
            data,
            self.workspace.training,
            fit,
            lambda: score_part(trained[0], data, job.part),
            engine=self.engine_name,
        )

    def checkpoints_for(
        self, job: Job, fold: int, pairs: TrainingSet, config: TrainingConfig
    ) -> Place | None:
        """Return the folder of a job's checkpoints; None where saving costs more than a repeat.

        A training always saves its last step, for the export. Lanes of another size, as of a
        sweep that is resumed, start anew: shards do not fit them.
        """
        num_steps = count_steps(
            pairs, epochs=config.epochs, pairs_per_step=config.pairs_per_step, seed=config.seed
        )
        if job.save_to is None and num_steps <= config.checkpoint_every:
            return None
        return below(checkpoints_of(job, fold, self.folder), self.engine_name)


def score_part(fitted: Fitted[Any], data: CountryData, part: str) -> FloatArray:
    """Return the margins of a part's pairs through a sharded engine; every rank must call."""
    which = data.pairs_in(part)
    pairs = data.training_set(which, np.ones(len(which)))
    rewards = rewards_of_all(fitted.engine, pairs.texts, fitted.inputs)
    return rewards[pairs.chosen] - rewards[pairs.rejected]
