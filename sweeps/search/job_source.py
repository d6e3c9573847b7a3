"""Where Tune takes jobs from: a searcher that keeps nothing in Tune's snapshots."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ray.tune.search import Searcher

from sweeps.jobs.job import Job


class JobSource(Searcher):
    """Gives jobs as Tune configurations; the ledger is the state, so Tune saves none.

    Args:
        num_jobs: Jobs to give at most.
    """

    def __init__(self, num_jobs: int) -> None:
        super().__init__()
        self.num_jobs = num_jobs

    def suggest(self, trial_id: str) -> Any:
        """Return the next job as a Tune configuration, or `FINISHED`."""
        job = self.next_job(trial_id)
        return self.FINISHED if job is None else asdict(job)

    def next_job(self, trial_id: str) -> Job | None:
        """Return the next job, or None if there is no more."""
        raise NotImplementedError

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Learn nothing."""

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
        self.jobs = iter(jobs)

    def next_job(self, trial_id: str) -> Job | None:
        """Return the next job of the list."""
        return next(self.jobs, None)
