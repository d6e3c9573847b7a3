"""What Ray Train's controller sends to a lane's queue of workers that died."""

from collections.abc import Mapping
from typing import Any

from ray.train import UserCallback

_ERROR_CHARS = 160  # of a rank


class DeathNotes(UserCallback):
    """Sends the errors of workers that died to the queue; Ray Train's controller calls it."""

    def __init__(self, queue: Any) -> None:
        self.queue = queue

    def after_exception(
        self, run_context: Any, worker_exceptions: Mapping[int, Exception]
    ) -> None:
        """Send the first line of every rank's error."""
        self.queue.note_death.remote(describe_deaths(worker_exceptions))


def describe_deaths(errors: Mapping[int, Exception]) -> str:
    """Return the first line of each rank's error, in one line."""
    lines = {rank: str(error).strip().splitlines() for rank, error in errors.items()}
    return "; ".join(
        f"rank {rank}: {first[0][:_ERROR_CHARS] if first else type(errors[rank]).__name__}"
        for rank, first in sorted(lines.items())
    )
