"""Judges whether the processes of a run fit on the nodes, by CPUs, GPUs and memory.

Ray places processes by CPUs and GPUs alone, so it may start more on a node than its memory holds.
A node is assumed to be filled as far as its CPUs and GPUs allow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cluster.doctor.node_findings import GIB, Finding

_USABLE_SHARE = 0.95  # when a node's memory is fuller than this, Ray kills workers


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
    def wider(self) -> Sequence["Processes"]:
        """Workers of larger lanes, the smallest first."""

    @property
    def host(self) -> Mapping[str, int]:
        """Bytes of its node's memory, by use."""

    @property
    def device(self) -> Mapping[str, int]:
        """Bytes of its GPU, by use."""


@dataclass(frozen=True)
class NodeCapacity:
    """The capacity of a node."""

    name: str  # host name
    cpus: float  # CPUs that Ray offers
    gpus: float  # GPUs that Ray offers
    free_bytes: int
    gpu_bytes: int = 0  # memory of its smallest GPU; 0 if it has none or that is not known

    def num_placed(self, needs: Processes) -> int:
        """Return how many of these processes Ray would start here."""
        places = [int(self.cpus / needs.cpus + 1e-9)] if needs.cpus > 0 else []
        if needs.gpus > 0:
            places.append(int(self.gpus / max(1.0, needs.gpus) + 1e-9) * _num_on_one_gpu(needs))
        return min(places)

    def num_fitting(self, needs: Processes) -> int:
        """Return how many of those that Ray would start here fit in memory."""
        fitting = int(_USABLE_SHARE * self.free_bytes / max(1, sum(needs.host.values())))
        if needs.gpus > 0 and self.gpu_bytes:
            on_one = int(_USABLE_SHARE * self.gpu_bytes / max(1, sum(needs.device.values())))
            on_one = min(on_one, _num_on_one_gpu(needs))
            fitting = min(fitting, on_one * int(self.gpus))
        return min(fitting, self.num_placed(needs))


def _num_on_one_gpu(needs: Processes) -> int:
    """Return how many of these processes Ray puts on one GPU, from which it takes a fraction."""
    return max(1, int(1 / needs.gpus + 1e-9))


def judge_capacity(needs: Processes, nodes: Sequence[NodeCapacity]) -> Finding:
    """Judge whether the nodes have the CPUs, GPUs and memory for the processes."""
    name = f"fit: {needs.name}"
    places = sum(node.num_placed(needs) for node in nodes)
    each = f"{needs.cpus:g} CPUs" + (f" and {needs.gpus:g} GPUs" if needs.gpus else "")
    have = f"{sum(n.cpus for n in nodes):g} CPUs and {sum(n.gpus for n in nodes):g} GPUs"
    if places < max(1, needs.number or 1):
        found = f"the run needs {needs.number or 1} x {each}, but the nodes have {have}"
        advice = "Set fewer workers, CPUs or GPUs (lanes), or add nodes."
        return Finding(name, "failure", found, advice)
    number = min(needs.number or places, places)
    crowded = [n for n in nodes if n.num_fitting(needs) < min(n.num_placed(needs), number)]
    words = f"{number} x ({_in_words(needs)})"
    if not crowded:
        return Finding(name, "ok", f"{words} on {have}")
    free = ", ".join(
        f"{node.name} has {node.free_bytes / GIB:.1f} GiB free"
        + (f" and GPUs of {node.gpu_bytes / GIB:.0f} GiB" if node.gpu_bytes else "")
        + f", enough for {node.num_fitting(needs)} of {min(node.num_placed(needs), number)}"
        for node in crowded
    )
    return Finding(name, "failure", f"{words}, but {free}", _advice(needs, nodes))


def _advice(needs: Processes, nodes: Sequence[NodeCapacity]) -> str:
    smaller = (
        "raise training.accumulation, set training.activation_checkpointing, lower "
        "encoder.max_tokens or training.pairs_per_step, or train LoRA adapters"
    )
    for lane in needs.wider:
        if sum(node.num_fitting(lane) for node in nodes) >= (lane.number or 1):
            return f"The smallest lane that holds it here: {{{lane.name}}}. Or {smaller}."
    if needs.name != "lane":
        return f"Use ZeRO stage 3 or more workers, {smaller}."
    fitting = sum(node.num_fitting(needs) for node in nodes)
    if fitting == 0:
        return (
            f"No node has memory for one lane: {smaller}; or share each training among devices "
            "(lanes.workers)."
        )
    return f"Set lanes.num_lanes to {fitting} at most; or {smaller}."


def _in_words(needs: Processes) -> str:
    """Return the memory of one process, with its three largest uses."""
    sides = []
    for side, uses in (("memory", needs.host), ("GPU memory", needs.device)):
        largest = sorted(uses.items(), key=lambda use: -use[1])[:3]
        if uses:
            named = ", ".join(f"{name} {size / GIB:.1f}" for name, size in largest)
            sides.append(f"{sum(uses.values()) / GIB:.1f} GiB of {side}: {named}")
    return "; ".join(sides)
