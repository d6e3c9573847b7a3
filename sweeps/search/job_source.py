"""Where Tune takes jobs from: a searcher that keeps nothing in Tune's snapshots.

A job whose lane was lost is given once more, as another trial of Tune's. Tune's own way does not
do: a trial that finds its reused actor dead, it ends with an error whatever `max_failures` says.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from ray.tune.search import Searcher

from sweeps.jobs.job import Job

# Of lanes that a job may survive; Tune may count one death twice, of the job and of the next one.
MAX_LOSSES = 4


class JobSource(Searcher):
    """Gives jobs as Tune configurations; the ledger is the state, so Tune saves none.

    Args:
        num_jobs: Jobs to give at most.
    """

    def __init__(self, num_jobs: int) -> None:
        super().__init__()
        self.num_jobs = num_jobs
        self.given: dict[str, Job] = {}  # by Tune's trial id
        self.lost: list[Job] = []
        self.losses: Counter[str] = Counter()  # by the job's own trial id

    @property
    def max_trials(self) -> int:
        """Tune's trials at most."""
        return self.num_jobs * (1 + MAX_LOSSES)

    @property
    def is_interrupted(self) -> bool:
        """Whether jobs are left, once Tune has ended: Ctrl-C ends it without an error."""
        return bool(self.given or self.lost or self.has_more())

    def suggest(self, trial_id: str) -> Any:
        """Return the next job as a Tune configuration, `FINISHED`, or None while some may fail."""
        job = self.lost.pop(0) if self.lost else self.next_job()
        if job is None:
            return None if self.given else self.FINISHED
        self.given[trial_id] = job
        return asdict(job)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Leave out a rung that is done, where the job is given again."""
        job = self.given[trial_id]
        left = tuple(rung for rung in job.rungs if rung > (result.get("rung") or 0))
        if result.get("pruned"):
            self.given[trial_id] = replace(job, rungs=left)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Keep a job that lost its lane, to give it again; learn from any other."""
        job = self.given.pop(trial_id)
        self.losses[job.trial_id] += error
        if error and self.losses[job.trial_id] <= MAX_LOSSES:
            self.lost.append(job)
        else:
            self.job_done(job, None if error else result)

    def is_given_again(self, job_id: str) -> bool:
        """Tell whether a job that lost its lane is still to be given."""
        return any(job.trial_id == job_id for job in self.lost)

    def next_job(self) -> Job | None:
        """Return the next job, or None if there is no more."""
        raise NotImplementedError

    def has_more(self) -> bool:
        """Tell whether `next_job` has jobs that it did not return yet."""
        raise NotImplementedError

    def job_done(self, job: Job, result: dict[str, Any] | None) -> None:
        """Learn from a job's result, None where it lost its lane too often."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class JobList(JobSource):
    """Gives the jobs of a list in their order."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__(len(jobs))
        self.jobs = deque(jobs)

    def next_job(self) -> Job | None:
        """Return the next job of the list."""
        return self.jobs.popleft() if self.jobs else None

    def has_more(self) -> bool:
        """Tell whether the list has more."""
        return bool(self.jobs)
