"""A watch over lanes that never come up: Ray would wait for ever where the room is taken."""

import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

PENDING_S = 900.0  # an autoscaler may need minutes for a node


class PendingWatch(Callback):
    """Ends an experiment of which no lane has come up.

    Args:
        resources: What one lane needs, by Ray's names.
        limit_s: Seconds to wait for the first lane; None for `PENDING_S`.
    """

    def __init__(self, resources: Mapping[str, float], limit_s: float | None = None) -> None:
        self.resources = dict(resources)
        self.limit_s = PENDING_S if limit_s is None else limit_s
        self.since: float | None = None
        self.is_up = False

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's snapshot nothing: the ledger is the state."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Look whether a lane is up.

        Raises:
            RuntimeError: None is, and the time is over; the message shows the arithmetic.
        """
        if self.is_up or not trials:
            return
        if any(trial.status != Trial.PENDING for trial in trials):
            self.is_up = True
            return
        now = time.monotonic()
        self.since = now if self.since is None else self.since
        if now - self.since < self.limit_s:
            return
        have, free = ray.cluster_resources(), ray.available_resources()
        needs = ", ".join(
            f"{need:g} {name}s (the cluster has {have.get(name, 0):g}, {free.get(name, 0):g} free)"
            for name, need in self.resources.items()
        )
        raise RuntimeError(
            f"No lane came up in {self.limit_s:g} s. A lane needs {needs} on one node. End what "
            "holds the others, or lower lanes.cpus or lanes.gpus; `ray status` tells who waits."
        )
