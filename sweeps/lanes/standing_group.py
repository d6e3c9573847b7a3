"""Worker groups that stay up: Ray Train workers that train one job after another over W devices.

A group is one Ray Train run, whose workers load the model once and then take job after job from a
queue (`sharded_worker`). Workers that die are restarted and resume from the job's checkpoints.
"""

import threading
import uuid
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
)
from scpo.distributed.worker_group import WorkerGroup, make_trainer
from scpo.files.buckets import remove_place
from scpo.files.places import Place, absolute, below
from sweeps.jobs.job import Job
from sweeps.lanes.death_notes import DeathNotes
from sweeps.lanes.hangs.signs import Watched
from sweeps.lanes.job_queue import JobQueue, checkpoints_of
from sweeps.lanes.lane import JobFailed, LaneLost, LaneNotStarted
from sweeps.ledger.records import TrialRecord
from sweeps.run.workspace import Workspace

_WORKER = "sweeps.lanes.sharded_worker:run_worker"  # imported by workers alone
_FOLDER = ".sharded"  # in the run's folder: checkpoints of jobs in flight, Ray's own files
_CHECK_S = 1.0  # how often it is checked that a group still runs
_CLOSE_S = 20.0  # how long workers may take to end
_MAX_STARTS = 1  # retries of a worker group that did not start


class StandingGroup:
    """A worker group for many jobs. Starts or joins Ray if needed.

    Args:
        workspace: Model and data.
        group: The workers; `max_failures` is how often they are restarted without a job done.
        run: The run's folder, which every worker reaches, or its URI.
        watched: Where the workers send signs of life; None for nowhere.

    Raises:
        LaneNotStarted: The cluster cannot hold the workers.
    """

    def __init__(
        self, workspace: Workspace, group: WorkerGroup, run: Place, watched: Watched | None = None
    ) -> None:
        start_ray()
        try:
            check_capacity(group.number, group.needs)
        except RuntimeError as error:
            raise LaneNotStarted(str(error)) from error
        self.group = group
        self.folder = below(absolute(run), _FOLDER)
        self.storage = below(self.folder, f"lane-{uuid.uuid4().hex[:12]}")
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        make_queue = ray.remote(JobQueue).options(num_cpus=0, scheduling_strategy=here)
        self.queue: Any = make_queue.remote(group.max_failures)
        trainer = make_trainer(
            _WORKER,
            {
                "queue": self.queue,
                "workspace": ray.put(workspace),
                "group": group,
                "folder": self.folder,
                "watched": watched,
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

    def train(self, job: Job, fold: int = 0) -> TrialRecord:
        """Run a job on one of its folds and return its record.

        Raises:
            JobFailed: The job cannot be done, or its workers died twice.
            LaneNotStarted: The workers did not start, or cannot load the model.
            LaneLost: They died too often.
        """
        index = ray.get(self.queue.submit.remote({"job": asdict(job), "fold": fold}))
        pending = self.queue.outcome.remote(index)
        while not ray.wait([pending], timeout=_CHECK_S)[0]:
            if not self.thread.is_alive():
                self._raise_end()
        outcome = ray.get(pending)
        remove_place(checkpoints_of(job, fold, self.folder))
        if "failed" in outcome:
            raise JobFailed(outcome["failed"])
        return TrialRecord.model_validate_json(outcome["record"])

    def close(self) -> None:
        """End the workers once they have done the submitted jobs."""
        ray.get(self.queue.close.remote())
        self.thread.join(_CLOSE_S)
        ray.kill(self.queue)  # workers that still run end with it
        self.thread.join(_CLOSE_S)
        remove_place(self.storage)

    def __enter__(self) -> "StandingGroup":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _fit(self, trainer: TorchTrainer) -> None:
        """Run Ray Train to its end in this thread; keep its result or error."""
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
        """Raise why the group ended before its job was done."""
        group = self.group
        error = self.ended.exception(timeout=0)
        has_started = ray.get(self.queue.count_starts.remote()) > 0
        if error is None:
            lost = LaneLost if ray.get(self.queue.count_done.remote()) else LaneNotStarted
            raise lost(f"The sharded lane ended. {self.ended.result()}")
        if has_started:
            raise LaneLost(
                f"The sharded lane of {group.number} workers failed: {error}"
            ) from error
        needs = describe_needs({name: group.number * need for name, need in group.needs.items()})
        raise LaneNotStarted(
            f"A sharded lane of {group.number} workers did not start. It needs {needs}. End the "
            "jobs that hold the rest, or ask for fewer workers (lanes.workers). "
            f"Ray Train reported: {error}"
        ) from error
