"""How many lanes the cluster holds, while nodes come and go.

The autoscaler of `ray up` and KubeRay adds nodes on request. Ray's request is one for the whole
cluster and outlives its driver, so it is withdrawn as soon as the nodes are there, and at the end.
"""

import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.search import ConcurrencyLimiter

from scpo.distributed.ray_start import (
    START_TIMEOUT_S,
    can_grow,
    count_groups,
    describe_needs,
    describe_processes,
    places_by_node,
)
from scpo.text.counts import format_count
from sweeps.config import LanesConfig

CHECK_S = 3.0


def count_lanes(config: LanesConfig, *, num_jobs: int) -> int:
    """Return how many lanes the cluster holds now, at most one a job; 0 only where it can grow.

    Raises:
        RuntimeError: Not one lane fits, and no nodes can come; the message shows the arithmetic.
    """
    fits = count_groups(config.workers, config.needs)
    if fits < 1 and not can_grow():
        raise RuntimeError(_no_room(config))
    return min(config.num_lanes or fits, fits, num_jobs)


def describe_lanes(config: LanesConfig, *, num_jobs: int) -> str:
    """Return how many lanes there will be, with what each takes of the cluster.

    Raises:
        RuntimeError: As of `count_lanes`.
    """
    have = ray.cluster_resources()
    shares = [
        f"{config.workers * need:g} of {have.get(name, 0):g} {name}s"
        for name, need in config.needs.items()
    ]
    lanes = count_lanes(config, num_jobs=num_jobs)
    wanted = min(config.num_lanes or 1, num_jobs)
    more = f" now, {wanted} requested from the autoscaler" if lanes < wanted and can_grow() else ""
    size = ""
    if config.workers > 1:
        size = f" of {config.workers} workers (ZeRO stage {config.zero_stage})"
    return f"{format_count(lanes, 'lane')}{size}{more}, each {' and '.join(shares)}"


class LaneCount(Callback):
    """Lets as many trials run as the nodes hold lanes, so that none is proposed far ahead.

    While requested nodes are missing, one more trial of lanes of one device is pending: an
    autoscaler that cannot serve the whole request serves none of it, but adds a node for a pending
    trial. Of worker groups, one more than there are is requested at a time.

    Args:
        limiter: Its `max_concurrent` is set.
        lanes: What a lane takes.
        most: Lanes wanted at most.
        may_request: Whether the autoscaler is asked for missing nodes.
    """

    def __init__(
        self,
        limiter: ConcurrencyLimiter,
        lanes: LanesConfig,
        most: int,
        *,
        may_request: bool,
    ) -> None:
        self.limiter = limiter
        self.lanes = lanes
        self.most = most
        self.may_request = may_request
        self.requested = 0  # lanes
        self.next_check = 0.0

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Count every few seconds how many lanes the nodes hold."""
        if time.monotonic() < self.next_check:
            return
        self.next_check = time.monotonic() + CHECK_S
        fits = count_groups(self.lanes.workers, self.lanes.needs)
        missing = self.may_request and fits < self.most
        if self.lanes.workers > 1:
            self._request(min(fits + 1, self.most) if missing else 0)
            pending = 0
        else:
            self._request(self.most if missing else 0)
            pending = missing
        self.limiter.max_concurrent = max(1, min(fits + pending, self.most))

    def release(self) -> None:
        """Withdraw a request that still stands."""
        self._request(0)

    def _request(self, lanes: int) -> None:
        if lanes != self.requested:
            request_resources(bundles=[self.lanes.needs] * self.lanes.workers * lanes)
            self.requested = lanes

    def __getstate__(self) -> dict[str, Any]:
        return {}  # the cluster is the state, so Tune's snapshot holds none


class StartTimeout(Callback):
    """Ends an experiment of which no lane starts: Ray would wait forever for taken resources.

    Args:
        needs: What a lane takes, by Ray's names.
    """

    def __init__(self, needs: Mapping[str, float]) -> None:
        self.needs = dict(needs)
        self.pending_since: float | None = None
        self.has_started = False

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Check whether a lane has started.

        Raises:
            RuntimeError: None has within the limit; the message shows the arithmetic.
        """
        self.has_started |= any(trial.status != Trial.PENDING for trial in trials)
        if self.has_started or not trials:
            return
        now = time.monotonic()
        self.pending_since = now if self.pending_since is None else self.pending_since
        if now - self.pending_since < START_TIMEOUT_S:
            return
        raise RuntimeError(
            f"No lane started in {START_TIMEOUT_S:g} s. A lane needs {describe_needs(self.needs)} "
            "on one node. End the jobs that hold the rest, or lower lanes.cpus or lanes.gpus; "
            "`ray status` shows them."
        )

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _no_room(config: LanesConfig) -> str:
    """Return why not one lane fits, with the arithmetic."""
    have = ray.cluster_resources()
    room = places_by_node(config.needs)
    where = " on one node" if config.workers == 1 else ""
    advice = "lanes.cpus or lanes.gpus" if config.workers == 1 else "lanes.workers or lanes.cpus"
    return (
        f"A lane needs {describe_processes(config.workers, config.needs)}{where}, but the cluster "
        f"has {have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs on "
        f"{format_count(len(room), 'node')}, room for {format_count(sum(room), 'worker')}. "
        f"Lower {advice}, or add nodes."
    )
