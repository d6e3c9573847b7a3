"""Devices that come and go: how many lanes they hold now, and an autoscaler asked for more.

`ray up` and KubeRay label every node with its group, and an autoscaler adds nodes to such a
cluster. It is asked by Ray's one cluster-wide request, which outlives whoever made it: so it is
taken back as soon as the room is there, and at the end.
"""

import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources
from ray.tune import Callback
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter

NODE_GROUP = "ray.io/node-group"
LOOK_S = 3.0


def can_grow() -> bool:
    """Tell whether the cluster is one of `ray up` or KubeRay, which may add nodes."""
    return any(NODE_GROUP in node["Labels"] for node in _alive())


def count_fits(needs: Mapping[str, float]) -> int:
    """Return how many processes of these needs, by Ray's names, the nodes hold now."""
    return sum(
        min(
            int(node["Resources"].get(name, 0.0) / need + 1e-9)
            for name, need in needs.items()
            if need > 0
        )
        for node in _alive()
    )


class LaneLimit(Callback):
    """Lets as many trials run as the devices hold lanes, so that no proposal is made far ahead.

    While room that was asked for is missing, one trial more waits: its need is seen by an
    autoscaler that cannot serve the whole request, and would serve none of it.

    Args:
        search: Gives the trials; its `max_concurrent` is set.
        needs: What a lane takes, by Ray's names.
        most: Lanes wanted at most.
        asks: Whether an autoscaler is asked for the lanes that are missing.
    """

    def __init__(
        self,
        search: ConcurrencyLimiter | BasicVariantGenerator,
        needs: Mapping[str, float],
        most: int,
        *,
        asks: bool,
    ) -> None:
        self.search = search
        self.needs = dict(needs)
        self.most = most
        self.asks = asks
        self.is_asking = False
        self.next_look = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's snapshot nothing: the cluster is the state."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look how many lanes the devices hold, every few seconds."""
        if time.monotonic() < self.next_look:
            return
        self.next_look = time.monotonic() + LOOK_S
        fits = count_fits(self.needs)
        self._ask(self.asks and fits < self.most)
        self.search.max_concurrent = max(1, min(fits + self.is_asking, self.most))

    def release(self) -> None:
        """Take a request back that still stands."""
        self._ask(False)

    def _ask(self, is_asking: bool) -> None:
        """Request room for all lanes, or take the request back, where that changes something."""
        if is_asking != self.is_asking:
            request_resources(bundles=[self.needs] * self.most if is_asking else [])
            self.is_asking = is_asking


def _alive() -> list[dict[str, Any]]:
    """Return the nodes that are there."""
    return [node for node in ray.nodes() if node["Alive"]]
