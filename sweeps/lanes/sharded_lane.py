"""Sharded lanes: worker groups that train one job after another over several devices.

A lane is one Ray Train run, whose workers load the model once and then take job after job from a
queue (`sharded_worker`). Workers that die are restarted and resume from the job's checkpoints.
"""

import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

import ray
import ray.train
from ray.exceptions import RayError
from ray.train import FailureConfig
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from scpo.distributed.ray_start import (
    check_capacity,
    describe_needs,
    start_ray,
    worker_needs,
)
from scpo.distributed.ray_training import WorkerGroup, make_trainer
from scpo.files.buckets import remove_place
from scpo.files.places import Place, absolute, below
from scpo.training.checkpoints import TrainingStopped
from sweeps.jobs.job import Job
from sweeps.jobs.job_records import failed_record
from sweeps.lanes.job_queue import DeathNotes, JobQueue
from sweeps.lanes.sharded_worker import checkpoints_of, run_worker
from sweeps.ledger.records import TrialRecord
from sweeps.run.workspace import Workspace

_FOLDER = ".sharded"  # in the run's folder: checkpoints of jobs in flight, Ray's own files
_CHECK_S = 1.0  # how often the driver checks that a lane still runs
_MAX_STARTS = 1  # retries of a worker group that did not start


def run_sharded(
    jobs: Sequence[Job],
    workspace: Workspace,
    group: WorkerGroup,
    run: Place,
    on_record: Callable[[TrialRecord], None],
) -> None:
    """Train jobs one after another in a sharded lane; nothing for an empty list.

    Args:
        jobs: Trainings; their rungs are ignored.
        workspace: Model and data.
        group: The workers.
        run: The run's folder, which every worker reaches, or its URI.
        on_record: Called with each record, complete or failed, in the order of the jobs.

    Raises:
        TrainingStopped: A worker cannot load the model.
        RuntimeError: The cluster cannot hold the workers, they did not start, or died too often.
    """
    if not jobs:
        return
    with ShardedLane(workspace, group, run) as lane:
        for job in jobs:
            on_record(lane.train(job))


class ShardedLane:
    """A worker group for many jobs; a context manager. Starts or joins Ray if needed.

    An exception leaves it without waiting for the job in flight: workers end after that job,
    or with the driver.

    Args:
        workspace: Model and data.
        group: The workers; `max_failures` is how often they are restarted without a job done.
        run: The run's folder, which every worker reaches, or its URI.

    Raises:
        RuntimeError: The cluster cannot hold the workers.
    """

    def __init__(self, workspace: Workspace, group: WorkerGroup, run: Place) -> None:
        start_ray()
        check_capacity(group.number, use_gpu=group.use_gpu)
        self.group = group
        self.folder = below(absolute(run), _FOLDER)
        self.storage = below(self.folder, f"lane-{uuid.uuid4().hex[:12]}")
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        make_queue = ray.remote(JobQueue).options(num_cpus=0, scheduling_strategy=here)
        self.queue: Any = make_queue.remote(group.max_failures)
        trainer = make_trainer(
            run_worker,
            {
                "queue": self.queue,
                "workspace": ray.put(workspace),
                "group": group,
                "folder": self.folder,
            },
            group,
            name="lane",
            storage=self.storage,
            failures=FailureConfig(  # type: ignore[call-arg]  # its types are V1's
                max_failures=-1,  # the queue counts: it knows what was done between
                controller_failure_limit=_MAX_STARTS,
            ),
            callbacks=[DeathNotes(self.queue)],
        )
        self.ended: Future[str | None] = Future()
        self.thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True)
        self.thread.start()

    def train(self, job: Job) -> TrialRecord:
        """Run a job and return its record, complete or failed.

        Raises:
            TrainingStopped: A worker cannot load the model.
            RuntimeError: The workers did not start, or died too often.
        """
        index = ray.get(self.queue.submit.remote(asdict(job)))
        pending = self.queue.outcome.remote(index)
        while not ray.wait([pending], timeout=_CHECK_S)[0]:
            if not self.thread.is_alive():
                self._raise_end()
        outcome = ray.get(pending)
        remove_place(checkpoints_of(job, self.folder))
        if "failed" in outcome:
            return failed_record(job, outcome["failed"])
        return TrialRecord.model_validate_json(outcome["record"])

    def close(self) -> None:
        """Wait for the submitted jobs, then end the workers."""
        ray.get(self.queue.close.remote())
        self.thread.join()
        ray.kill(self.queue)
        remove_place(self.storage)

    def __enter__(self) -> "ShardedLane":
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or not self.thread.is_alive():
            self.close()
        else:
            self.queue.close.remote()

    def _fit(self, trainer: TorchTrainer) -> None:
        """Run Ray Train to its end in this thread; keep its result or error for the driver."""
        try:
            result: Any = trainer.fit()
        except (
            ray.train.TrainingFailedError,
            RayError,
            RuntimeError,
            ValueError,
            OSError,  # such as a storage that cannot be written
        ) as error:
            self.ended.set_exception(error)
        else:
            self.ended.set_result(result.return_value)

    def _raise_end(self) -> None:
        """Raise why the lane ended before its job was done."""
        workers = self.group.number
        error = self.ended.exception(timeout=0)
        if error is None:
            raise TrainingStopped(f"The sharded lane ended. {self.ended.result()}")
        if ray.get(self.queue.count_starts.remote()):
            raise RuntimeError(f"The sharded lane of {workers} workers failed: {error}") from error
        needs = describe_needs(worker_needs(workers, use_gpu=self.group.use_gpu))
        raise RuntimeError(
            f"A sharded lane of {workers} workers did not start. It needs {needs}. End the jobs "
            f"that hold the rest, or ask for fewer workers. Ray Train reported: {error}"
        ) from error
