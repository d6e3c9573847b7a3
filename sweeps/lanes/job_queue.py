"""The queue between a driver and the workers of a sharded lane.

Jobs go in and outcomes come out, both plain values, so that the actor imports no training stack.
All ranks take the same job by its index. The queue remembers how often a job was handed out:
workers that died are started again and take the job in flight once more, then it has failed.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ray.train import UserCallback

HANDED_OUT_AT_MOST = 2
DEATH_CHARS = 160


class JobQueue:
    """Jobs in the order of their coming, and the outcome of each; Ray makes an actor of it.

    Args:
        max_failures: How often in a row workers may be started again without a job done.
    """

    def __init__(self, max_failures: int) -> None:
        self.max_failures = max_failures
        self.jobs: list[dict[str, Any]] = []
        self.outcomes: list[dict[str, str]] = []
        self.closed = False
        self.num_starts = 0
        self.num_restarts = 0  # since a job was done
        self.handed_out: Counter[int] = Counter()
        self.last_death = "without a word"
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
        """Return where workers that were just started begin; rank 0 asks.

        Returns:
            The index of the first job without an outcome, and why the lane must end, or None.
        """
        index = len(self.outcomes)
        self.num_restarts += self.num_starts > 0
        self.num_starts += 1
        if self.handed_out[index] >= HANDED_OUT_AT_MOST:
            await self.report(
                index,
                {"failed": f"Its workers died {HANDED_OUT_AT_MOST} times: {self.last_death}"},
            )
            return index + 1, None
        if self.num_restarts > self.max_failures:
            return index, (
                f"Workers may be started again {self.max_failures} times without a job done, "
                f"but died once more: {self.last_death}. Look at the nodes' memory and logs."
            )
        return index, None

    async def take(self, index: int, rank: int) -> dict[str, Any] | None:
        """Return a job once there is one of that index; None when the queue is closed."""
        async with self.changed:
            await self.changed.wait_for(lambda: index < len(self.jobs) or self.closed)
        if index >= len(self.jobs):
            return None
        self.handed_out[index] += rank == 0
        return self.jobs[index]

    async def report(self, index: int, outcome: dict[str, str]) -> None:
        """Take the outcome of a job from rank 0: its `record` as JSON, or why it `failed`."""
        async with self.changed:
            if index == len(self.outcomes):  # a call that Ray repeats counts once
                self.outcomes.append(outcome)
                self.num_restarts = 0
                self.changed.notify_all()

    async def outcome(self, index: int) -> dict[str, str]:
        """Return the outcome of a job once there is one."""
        async with self.changed:
            await self.changed.wait_for(lambda: index < len(self.outcomes))
        return self.outcomes[index]

    async def note_death(self, words: str) -> None:
        """Remember what became of workers that died."""
        self.last_death = words

    async def count_starts(self) -> int:
        """Return how often workers began."""
        return self.num_starts


class DeathNotes(UserCallback):
    """Tells the queue of workers that died; Ray Train calls it in its controller.

    Args:
        queue: Handle of the queue's actor.
    """

    def __init__(self, queue: Any) -> None:
        self.queue = queue

    def after_exception(
        self, run_context: Any, worker_exceptions: Mapping[int, Exception]
    ) -> None:
        """Send the first line of every rank's error."""
        self.queue.note_death.remote(describe_deaths(worker_exceptions))


def describe_deaths(errors: Mapping[int, Exception]) -> str:
    """Return rank and error of workers, in one line of at most `DEATH_CHARS` a rank."""
    lines = {rank: str(error).strip().splitlines() for rank, error in errors.items()}
    return "; ".join(
        f"rank {rank}: {words[0][:DEATH_CHARS] if words else type(errors[rank]).__name__}"
        for rank, words in sorted(lines.items())
    )
