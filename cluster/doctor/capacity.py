"""Whether the processes of a run fit the nodes: CPUs, GPUs and memory against what is asked.

Ray places processes by CPUs and GPUs alone, so too many may land on one node and be killed there
for want of memory. A node is taken to be filled as far as its CPUs and GPUs allow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cluster.doctor.findings import GIB, Finding

ROOM = 0.95  # Ray kills workers when a node's memory is fuller than this


class Processes(Protocol):
    """A kind of process that a run starts; see `sweeps.cost.needs.ProcessNeeds`."""

    @property
    def name(self) -> str:
        """What it is."""

    @property
    def number(self) -> int | None:
        """How many there must be; None for as many as fit."""

    @property
    def cpus(self) -> float:
        """CPUs of one."""

    @property
    def gpus(self) -> float:
        """GPUs of one."""

    @property
    def host(self) -> Mapping[str, int]:
        """Bytes of its node's memory, by what takes them."""

    @property
    def device(self) -> Mapping[str, int]:
        """Bytes of its GPU, by what takes them."""


@dataclass(frozen=True)
class NodeCapacity:
    """What a node has.

    Attributes:
        name: What to call it.
        cpus: CPUs that Ray gives out.
        gpus: GPUs that Ray gives out.
        free_bytes: Memory that is free now.
        gpu_bytes: Memory of its smallest GPU; 0 where it has none or that is not known.
    """

    name: str
    cpus: float
    gpus: float
    free_bytes: int
    gpu_bytes: int = 0

    def places(self, needs: Processes) -> int:
        """Return how many of these processes Ray would put here."""
        asked = ((self.cpus, needs.cpus), (self.gpus, needs.gpus))
        return min(int(have / need + 1e-9) for have, need in asked if need > 0)

    def room(self, needs: Processes) -> int:
        """Return how many have memory here, of those that Ray would put here."""
        room = int(ROOM * self.free_bytes / max(1, sum(needs.host.values())))
        if needs.gpus > 0 and self.gpu_bytes:
            on_one = int(ROOM * self.gpu_bytes / max(1, sum(needs.device.values())))
            on_one = min(on_one, max(1, int(1 / needs.gpus + 1e-9)))  # as many as Ray puts on one
            room = min(room, on_one * int(self.gpus))
        return min(room, self.places(needs))


def judge_capacity(needs: Processes, nodes: Sequence[NodeCapacity]) -> Finding:
    """Say whether as many processes as are asked for fit the nodes.

    Args:
        needs: The processes.
        nodes: What the nodes have.
    """
    name = f"fit: {needs.name}"
    places = sum(node.places(needs) for node in nodes)
    asked = f"{needs.cpus:g} CPUs" + (f" and {needs.gpus:g} GPUs" if needs.gpus else "")
    have = f"{sum(n.cpus for n in nodes):g} CPUs and {sum(n.gpus for n in nodes):g} GPUs"
    if places < max(1, needs.number or 1):
        found = f"{needs.number or 1} x {asked} are asked for, but the nodes have {have}"
        advice = "Ask for fewer workers, CPUs or GPUs (lanes, final.sharded), or add nodes."
        return Finding(name, "failure", found, advice)
    number = min(needs.number or places, places)
    room = sum(node.room(needs) for node in nodes)
    crowded = [n for n in nodes if n.room(needs) < min(n.places(needs), number)]
    words = f"{number} x ({_in_words(needs)})"
    if not crowded:
        return Finding(name, "ok", f"{words} on {have}")
    free = ", ".join(
        f"{node.name} has {node.free_bytes / GIB:.1f} GiB free"
        + (f" and GPUs of {node.gpu_bytes / GIB:.0f} GiB" if node.gpu_bytes else "")
        + f", room for {node.room(needs)} of {min(node.places(needs), number)}"
        for node in crowded
    )
    return Finding(name, "failure", f"{words}, but {free}", _advice(needs, room))


def _advice(needs: Processes, room: int) -> str:
    """Return what makes the processes fit."""
    smaller = (
        "raise training.accumulation, set training.activation_checkpointing, lower "
        "encoder.max_tokens or training.pairs_per_step, or train LoRA adapters"
    )
    if needs.name != "lane":
        return f"Take ZeRO stage 3 or more workers, {smaller}."
    if room == 0:
        return f"Not one lane has the memory: {smaller}; or train sharded (final.sharded)."
    return f"Set lanes.num_lanes to {room} at most; or {smaller}."


def _in_words(needs: Processes) -> str:
    """Return the memory of one process, the largest parts first."""
    sides = []
    for side, parts in (("memory", needs.host), ("GPU memory", needs.device)):
        largest = sorted(parts.items(), key=lambda part: -part[1])[:3]
        if parts:
            named = ", ".join(f"{name} {size / GIB:.1f}" for name, size in largest)
            sides.append(f"{sum(parts.values()) / GIB:.1f} GiB of {side}: {named}")
    return "; ".join(sides)
