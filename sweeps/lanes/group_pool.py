"""Worker groups that all stages of a sweep share, whichever Tune experiment they work for.

A pool holds them, which is an actor of its own: an actor of trials asks it to train, and leaves no
group behind when it dies. A group without a job stays up until the next lanes cannot use it.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from scpo.distributed.ray_start import count_groups
from scpo.distributed.ray_training import WorkerGroup
from scpo.files.places import Place, absolute
from sweeps.config import LanesConfig
from sweeps.jobs.job import Job
from sweeps.lanes.lane import JobFailed, LaneLost
from sweeps.lanes.sharded_worker import checkpoints_of
from sweeps.lanes.standing_group import StandingGroup
from sweeps.ledger.records import TrialRecord
from sweeps.run.worker_group import worker_group
from sweeps.run.workspace import Workspace

HEAD_NODE = {"node:__internal_head__": 0.001}  # what an actor on the node of the head needs
_MAX_CALLS = 256  # at once; more jobs than that wait, whatever the cluster holds
_MAX_REPEATS = 3  # of a call, by Ray, when the pool's process died and was restarted
_CHECK_S = 3.0  # how often it is checked whether the cluster holds more groups


@dataclass(frozen=True)
class RunData:
    """What groups are started with; each call brings it, for a pool that was restarted."""

    workspace: Any  # a reference to model and data
    folder: Place  # of the run, which every worker reaches, or its URI


class GroupPool:
    """Groups that are up, at work and idle; Ray makes an actor of it, which has many threads."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.idle: list[StandingGroup] = []
        self.num_up = 0  # groups that start, work, wait or end
        self.running: dict[Place, Future[TrialRecord]] = {}  # by the job's checkpoints
        self.threads = ThreadPoolExecutor(_MAX_CALLS)

    def train(self, run: RunData, group: WorkerGroup, job: Job, fold: int) -> TrialRecord:
        """Run a job on one of its folds in an idle group, or in a new one, and return its record.

        It waits for a group where as many are up as the cluster holds. A job that is at work for
        a trial that died goes on, and this call takes its record.

        Raises:
            JobFailed: The job cannot be done; the group stays up.
            LaneLost: The group did not start or died too often, and is closed.
        """
        place = checkpoints_of(job, fold, run.folder)
        with self.changed:
            running = self.running.get(place)
            if running is None:
                running = self.threads.submit(self._run, place, run, group, job, fold)
                self.running[place] = running
        return running.result()

    def make_room(self, group: WorkerGroup | None = None, most: int = 0) -> None:
        """Close the idle groups but so many of one kind."""
        with self.changed:
            kept = [each for each in self.idle if each.group == group][:most]
            closing = [each for each in self.idle if each not in kept]
            self.idle = kept
        list(self.threads.map(self._close, closing))

    def _run(
        self, place: Place, run: RunData, group: WorkerGroup, job: Job, fold: int
    ) -> TrialRecord:
        try:
            return self._train(run, group, job, fold)
        finally:
            with self.changed:
                del self.running[place]

    def _train(self, run: RunData, group: WorkerGroup, job: Job, fold: int) -> TrialRecord:
        standing = self._take(run, group)
        try:
            record = standing.train(job, fold)
        except JobFailed:
            self._put_back(standing)
            raise
        except Exception:
            self._close(standing)
            raise
        self._put_back(standing)
        return record

    def _take(self, run: RunData, group: WorkerGroup) -> StandingGroup:
        """Return a group for one job, waiting for it where the cluster holds no more."""
        while True:
            with self.changed:
                for found in self.idle:
                    if found.group == group and found.is_alive:
                        self.idle.remove(found)
                        return found
                if self.num_up < max(1, count_groups(group.number, group.needs)):
                    self.num_up += 1
                    break
                if not self.idle:
                    self.changed.wait(_CHECK_S)
                    continue
                useless = self.idle.pop()  # it is dead, or of other lanes
            self._close(useless)
        try:
            return StandingGroup(ray.get(run.workspace), group, run.folder)
        except Exception:
            self._leave()
            raise

    def _put_back(self, standing: StandingGroup) -> None:
        with self.changed:
            self.idle.append(standing)
            self.changed.notify_all()

    def _close(self, standing: StandingGroup) -> None:
        try:
            standing.close()
        finally:
            self._leave()

    def _leave(self) -> None:
        with self.changed:
            self.num_up -= 1
            self.changed.notify_all()


@dataclass(frozen=True)
class Pool:
    """A pool as lanes call it."""

    actor: Any
    run: RunData

    def train(self, group: WorkerGroup, job: Job, fold: int) -> TrialRecord:
        """Return the record of a job on one of its folds, as of `GroupPool.train`.

        Raises:
            JobFailed, LaneLost: As there; LaneLost also where the pool is gone.
        """
        try:
            record: TrialRecord = ray.get(self.actor.train.remote(self.run, group, job, fold))
        except RayTaskError as error:
            raise error.cause from None  # in its own words
        except RayActorError as error:
            raise LaneLost(f"The pool of worker groups ended: {error}") from error
        return record


class SharedGroups:
    """The driver's side of a pool, which starts with the first lanes that need it; a context.

    Args:
        workspace: Model and data.
        run: The run's folder.
    """

    def __init__(self, workspace: Workspace, run: Path) -> None:
        self.workspace = workspace
        self.folder = absolute(workspace.place or run)
        self.pool: Pool | None = None

    def prepare(self, lanes: LanesConfig, most: int) -> Pool | None:
        """Close the groups that so many lanes cannot use, so that these find their devices free.

        Returns:
            The pool, None while no lanes needed it.
        """
        if self.pool is not None:
            ray.get(self.pool.actor.make_room.remote(worker_group(lanes), most))
        elif lanes.workers > 1:
            make_pool = ray.remote(GroupPool).options(
                num_cpus=0,
                resources=HEAD_NODE,
                max_concurrency=_MAX_CALLS,
                max_restarts=-1,
                max_task_retries=_MAX_REPEATS,
            )
            run = RunData(ray.put(self.workspace), self.folder)
            self.pool = Pool(make_pool.remote(), run)
        return self.pool

    def __enter__(self) -> "SharedGroups":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self.pool is None:
            return
        try:
            if kind is None:
                ray.get(self.pool.actor.make_room.remote())
        finally:
            if ray.is_initialized():  # an interrupt may have ended Ray, which `kill` would start
                ray.kill(self.pool.actor)  # groups that still work end with it


def share_groups(
    groups: SharedGroups | None, workspace: Workspace, run: Path
) -> AbstractContextManager[SharedGroups]:
    """Return the groups that a caller has, which it closes itself, or some for a block."""
    return SharedGroups(workspace, run) if groups is None else nullcontext(groups)
