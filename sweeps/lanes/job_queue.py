"""The queue between a driver and the workers of a sharded lane.

Jobs and outcomes are plain values, and this module imports neither torch nor Ray: each process
that holds the queue's handle imports it. All ranks take the same job by its index. Workers that
died are restarted and take the job in flight once more; if they die again, the job has failed.
"""

import asyncio
from collections import Counter
from typing import Any

from scpo.files.places import Place, below
from sweeps.jobs.job import Job

_MAX_ATTEMPTS = 2  # of a job


class JobQueue:
    """Jobs in the order of submission, and the outcome of each; Ray makes an actor of it.

    Args:
        max_failures: How often in a row workers may be restarted without a job done.
    """

    def __init__(self, max_failures: int) -> None:
        self.max_failures = max_failures
        self.jobs: list[dict[str, Any]] = []
        self.outcomes: list[dict[str, str]] = []
        self.closed = False
        self.num_starts = 0
        self.num_restarts = 0  # since a job was done
        self.attempts: Counter[int] = Counter()  # by job index
        self.last_death = "no error message"
        self.changed = asyncio.Condition()

    async def submit(self, job: dict[str, Any]) -> int:
        """Add a job and return its index."""
        async with self.changed:
            self.jobs.append(job)
            self.changed.notify_all()
        return len(self.jobs) - 1

    async def close(self) -> None:
        """Let workers end when no job is left."""
        async with self.changed:
            self.closed = True
            self.changed.notify_all()

    async def begin(self) -> tuple[int, str | None]:
        """Count a start of the workers, for rank 0.

        Returns:
            The index of the first job without an outcome, and why the lane must end, or None.
        """
        index = len(self.outcomes)
        self.num_restarts += self.num_starts > 0
        self.num_starts += 1
        if self.attempts[index] >= _MAX_ATTEMPTS:
            fault = f"Its workers died {_MAX_ATTEMPTS} times: {self.last_death}"
            await self.report(index, {"failed": fault})
            return index + 1, None
        if self.num_restarts > self.max_failures:
            return index, (
                f"Workers may be restarted {self.max_failures} times without a job done, but "
                f"died once more: {self.last_death}. Look at the nodes' memory and logs."
            )
        return index, None

    async def take(self, index: int, rank: int) -> dict[str, Any] | None:
        """Return the job of an index, waiting for it; None if the queue is closed before."""
        async with self.changed:
            await self.changed.wait_for(lambda: index < len(self.jobs) or self.closed)
        if index >= len(self.jobs):
            return None
        self.attempts[index] += rank == 0
        return self.jobs[index]

    async def report(self, index: int, outcome: dict[str, str]) -> None:
        """Keep the outcome of a job from rank 0: its `record` as JSON, or why it `failed`."""
        async with self.changed:
            if index == len(self.outcomes):  # a call that Ray repeats counts once
                self.outcomes.append(outcome)
                self.num_restarts = 0
                self.changed.notify_all()

    async def outcome(self, index: int) -> dict[str, str]:
        """Return the outcome of a job, waiting for it."""
        async with self.changed:
            await self.changed.wait_for(lambda: index < len(self.outcomes))
        return self.outcomes[index]

    async def note_death(self, errors: str) -> None:
        """Keep the errors of workers that died, for messages."""
        self.last_death = errors

    async def count_done(self) -> int:
        """Return how many jobs have an outcome."""
        return len(self.outcomes)

    async def count_starts(self) -> int:
        """Return how often workers started."""
        return self.num_starts


def checkpoints_of(job: Job, fold: int, folder: Place) -> Place:
    """Return the folder of a job's checkpoints, which another setting never resumes from."""
    return below(folder, "checkpoints", f"{job.trial_id}-{job.config_hash}-{fold}")
