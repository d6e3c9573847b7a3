"""How many lanes the cluster holds, while nodes come and go.

`ray up` and KubeRay label every node with its group, and their autoscaler adds nodes on request.
Ray's request is one for the whole cluster and outlives its driver, so it is withdrawn as soon as
the nodes are there, and at the end.
"""

import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.search import ConcurrencyLimiter

from scpo.distributed.ray_start import describe_needs
from sweeps.config import LanesConfig

NODE_GROUP = "ray.io/node-group"
CHECK_S = 3.0
START_TIMEOUT_S = 900.0  # an autoscaler may need minutes for a node


def can_grow() -> bool:
    """Tell whether the cluster is one of `ray up` or KubeRay, which may add nodes."""
    return any(NODE_GROUP in node["Labels"] for node in _alive_nodes())


def lane_needs(config: LanesConfig) -> dict[str, float]:
    """Return what a lane takes, by Ray's names."""
    return {"CPU": config.cpus, **({"GPU": config.gpus} if config.gpus else {})}


def count_fits(needs: Mapping[str, float]) -> int:
    """Return how many processes of these needs, by Ray's names, the nodes hold now."""
    return sum(
        min(
            int(node["Resources"].get(name, 0.0) / need + 1e-9)
            for name, need in needs.items()
            if need > 0
        )
        for node in _alive_nodes()
    )


def count_lanes(config: LanesConfig, *, num_jobs: int) -> int:
    """Return how many lanes the cluster holds now, at most one a job; 0 only where it can grow.

    Raises:
        RuntimeError: Not one lane fits, and no nodes can come; the message shows the arithmetic.
    """
    fits = count_fits(lane_needs(config))
    if fits < 1 and not can_grow():
        have = ray.cluster_resources()
        raise RuntimeError(
            f"A lane needs {config.cpus:g} CPUs and {config.gpus:g} GPUs on one node, but the "
            f"cluster has {have.get('CPU', 0):g} and {have.get('GPU', 0):g}. Lower lanes.cpus or "
            "lanes.gpus."
        )
    return min(config.num_lanes or fits, fits, num_jobs)


def describe_lanes(config: LanesConfig, *, num_jobs: int) -> str:
    """Return how many lanes there will be, with what each takes of the cluster.

    Raises:
        RuntimeError: As of `count_lanes`.
    """
    have = ray.cluster_resources()
    shares = [
        f"{need:g} of {have.get(name, 0):g} {name}s" for name, need in lane_needs(config).items()
    ]
    lanes = count_lanes(config, num_jobs=num_jobs)
    wanted = min(config.num_lanes or 1, num_jobs)
    more = f" now, {wanted} requested from the autoscaler" if lanes < wanted and can_grow() else ""
    return f"{lanes} lanes{more}, each {' and '.join(shares)}"


class LaneCount(Callback):
    """Lets as many trials run as the nodes hold lanes, so that none is proposed far ahead.

    While requested nodes are missing, one more trial is pending: an autoscaler that cannot serve
    the whole request serves none of it, but adds a node for a pending trial.

    Args:
        limiter: Its `max_concurrent` is set.
        needs: What a lane takes, by Ray's names.
        most: Lanes wanted at most.
        may_request: Whether the autoscaler is asked for missing nodes.
    """

    def __init__(
        self,
        limiter: ConcurrencyLimiter,
        needs: Mapping[str, float],
        most: int,
        *,
        may_request: bool,
    ) -> None:
        self.limiter = limiter
        self.needs = dict(needs)
        self.most = most
        self.may_request = may_request
        self.has_request = False
        self.next_check = 0.0

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Count every few seconds how many lanes the nodes hold."""
        if time.monotonic() < self.next_check:
            return
        self.next_check = time.monotonic() + CHECK_S
        fits = count_fits(self.needs)
        self._request(self.may_request and fits < self.most)
        self.limiter.max_concurrent = max(1, min(fits + self.has_request, self.most))

    def release(self) -> None:
        """Withdraw a request that still stands."""
        self._request(False)

    def _request(self, wanted: bool) -> None:
        if wanted != self.has_request:
            request_resources(bundles=[self.needs] * self.most if wanted else [])
            self.has_request = wanted

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


def _alive_nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]
