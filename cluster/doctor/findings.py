"""What `scpo doctor` makes of the facts: findings, each with what to do.

Pure: the facts of `cluster.doctor.program` in, findings out. `cluster.doctor.capacity` judges
    whether a
configuration fits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from typing import Any, Literal

from packaging.requirements import Requirement

from cluster.access.stores import BUCKET_ADVICE

Level = Literal["ok", "warning", "failure"]
Facts = Mapping[str, Any]
GIB = 2**30
RAY_DISK_SHARE = 0.95  # fuller than this, Ray writes no objects
FILES = ("storage", "paths")  # judged apart
LITTLE_DISK_BYTES, LITTLE_MEMORY_BYTES = 10 * GIB, 2 * GIB


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        name: What was looked at.
        level: "ok", "warning" or "failure".
        found: What was found.
        advice: What to do; "" where nothing is to be done.
    """

    name: str
    level: Level
    found: str
    advice: str = ""


def value_of(facts: Facts, name: str, default: Any = None) -> Any:
    """Return a probe's value, or the default where it has none."""
    return facts.get(name, {}).get("value", default)


def name_of(facts: Facts) -> str:
    """Return what to call a node."""
    return str(value_of(facts, "machine", {}).get("host") or str(facts.get("id", "?"))[:12])


def _nodes(number: int) -> str:
    """Return a number of nodes in words."""
    return "1 node" if number == 1 else f"{number} nodes"


def judge_answers(nodes: Sequence[Facts]) -> list[Finding]:
    """Say which nodes and which of their probes gave no answer."""
    found = []
    for node in nodes:
        if "failed" in node:
            advice = "See the node's raylet.log; restart Ray on that node, or take it away."
            found.append(Finding("nodes", "failure", f"{name_of(node)}: {node['failed']}", advice))
        for probe, outcome in node.items():
            if isinstance(outcome, Mapping) and "error" in outcome and probe not in FILES:
                text = f"{name_of(node)}: {probe}: {outcome['error']}"
                advice = "Look for it on that node by hand; this check says nothing of it."
                found.append(Finding(probe, "warning", text, advice))
    return found


def judge_versions(nodes: Sequence[Facts], *, code_is_sent: bool = False) -> Finding:
    """Say whether every node has the same versions, and those that this package needs.

    Args:
        nodes: Facts of the nodes.
        code_is_sent: Whether a job brings this package along, so nodes may lack it.
    """
    by_package: dict[str, dict[str, list[str]]] = {}
    for node in nodes:
        for package, version in value_of(node, "versions", {}).items():
            seen = by_package.setdefault(package, {})
            seen.setdefault(version or "not installed", []).append(name_of(node))
    if code_is_sent and set(by_package.get("scpo", {})) == {"not installed"}:
        del by_package["scpo"]
    wrong = []
    for package, seen in by_package.items():
        if len(seen) > 1 or "not installed" in seen:
            where = "; ".join(f"{version} on {', '.join(on)}" for version, on in seen.items())
            wrong.append(f"{package}: {where}")
        wrong += [fault for version in seen if (fault := _unwanted(package, version))]
    if wrong:
        advice = "Give every node one environment: one container image, or one lock file."
        return Finding("versions", "failure", ". ".join(wrong), advice)
    same = ", ".join(f"{package} {next(iter(seen))}" for package, seen in by_package.items())
    return Finding("versions", "ok", f"{same}, on {_nodes(len(nodes))}")


def _unwanted(package: str, version: str) -> str:
    """Return what is wrong with a version by this package's requirements; "" for nothing."""
    try:
        needed = [Requirement(text) for text in requires("scpo") or []]
    except PackageNotFoundError:  # a copy of the sources, not an installed package
        return ""
    for requirement in needed:
        is_it = requirement.name == package and version != "not installed"
        if is_it and not requirement.specifier.contains(version, prereleases=True):
            return f"{package} {version}, but scpo needs {requirement.specifier}"
    return ""


def judge_devices(nodes: Sequence[Facts], *, wants_gpus: bool) -> Finding:
    """Say what the nodes compute with."""
    gpus: dict[str, int] = {}
    cpus = 0
    for node in nodes:
        cpus += value_of(node, "machine", {}).get("cpus") or 0
        for gpu in value_of(node, "devices", {}).get("gpus", []):
            name = f"{gpu['name']} ({gpu['bytes'] / GIB:.0f} GiB)"
            gpus[name] = gpus.get(name, 0) + 1
    text = ", ".join(f"{number} x {name}" for name, number in gpus.items()) or "no GPU"
    found = f"{cpus} CPUs, {text}"
    if wants_gpus and not gpus:
        advice = "Set lanes.gpus to 0, or add GPU nodes with a CUDA build of torch and a driver."
        return Finding("devices", "failure", f"{found}, but the configuration asks for it", advice)
    return Finding("devices", "ok", found)


def judge_compiler(nodes: Sequence[Facts]) -> Finding:
    """Say whether DeepSpeed could compile its own ops; scpo trains without them."""
    lacking = []
    for node in nodes:
        tools = value_of(node, "compiler", {})
        needed = [n for n in tools if n != "nvcc" or value_of(node, "devices", {}).get("gpus")]
        if missing := [tool for tool in needed if not tools[tool]]:
            lacking.append(f"{name_of(node)} lacks {', '.join(missing)}")
    if lacking:
        advice = (
            "scpo trains without: it uses torch's AdamW. For DeepSpeed's fused ops install "
            "g++ and ninja, and on GPU nodes the CUDA toolkit of torch's version."
        )
        return Finding("compiler", "warning", "; ".join(lacking), advice)
    return Finding("compiler", "ok", "DeepSpeed can compile its ops on every node")


def judge_disk(nodes: Sequence[Facts], needed_bytes: int = 0) -> list[Finding]:
    """Say of each full disk what it would stop, or that there is room.

    Args:
        nodes: Facts of the nodes.
        needed_bytes: What the run will write to the storage.
    """
    found, least = [], None
    for node in nodes:
        for name, disk in value_of(node, "disk", {}).items():
            free, share = disk["free"], 1 - disk["free"] / disk["total"]
            least = free if least is None else min(least, free)
            text = f"{name_of(node)}: {name} {disk['folder']}: {free / GIB:.1f} GiB free"
            needs = needed_bytes if name == "the storage" else 0
            advice = "Free space, or give another folder: --out, or Ray's --temp-dir."
            if free < max(needs, GIB) or share > RAY_DISK_SHARE:
                why = f"; the run writes {needs / GIB:.1f} GiB" if free < needs else ""
                why += "; Ray stops at 95 % full" if share > RAY_DISK_SHARE else ""
                found.append(Finding("disk", "failure", f"{text}, {share:.0%} used{why}", advice))
            elif free < LITTLE_DISK_BYTES:
                found.append(Finding("disk", "warning", text, advice))
    if not found and least is not None:
        words = f"; the run writes {needed_bytes / GIB:.1f} GiB" if needed_bytes else ""
        found.append(Finding("disk", "ok", f"at least {least / GIB:.1f} GiB free{words}"))
    return found


def judge_memory(nodes: Sequence[Facts]) -> list[Finding]:
    """Say of each node that has hardly any memory left, or that there is some."""
    free = {
        name_of(node): machine["free"] for node in nodes if (machine := value_of(node, "machine"))
    }
    advice = "End what else runs there: Ray kills workers when memory is short."
    found = [
        Finding("memory", "failure", f"{name}: {left / GIB:.1f} GiB free", advice)
        for name, left in free.items()
        if left < LITTLE_MEMORY_BYTES
    ]
    if not found and free:
        found = [Finding("memory", "ok", f"at least {min(free.values()) / GIB:.1f} GiB free")]
    return found


def judge_storage(
    folder: str | None, wrote: Facts, nodes: Sequence[Facts], reads: Facts
) -> list[Finding]:
    """Say whether the storage can be written and is the same from everywhere.

    Args:
        folder: The storage, or its nearest folder that exists.
        wrote: Outcome of the driver's writing.
        nodes: Facts of the nodes.
        reads: Outcome of the driver's reading what nodes wrote.
    """
    if folder is None:
        advice = "Give --out, the folder of a run, to check it."
        return [Finding("storage", "warning", "not checked: no folder was given", advice)]
    shared = "Mount one folder under the same path on every node, writable by Ray's user."
    if "://" in folder:
        shared = BUCKET_ADVICE
    if "error" in wrote:
        return [Finding("storage", "failure", f"{folder}: {wrote['error']}", shared)]
    faults, seen = [], value_of({"reads": reads}, "reads", {})
    for node in nodes:
        outcome = node.get("storage", {"error": "no answer"})
        if "error" in outcome:
            faults.append(f"{name_of(node)}: {outcome['error']}")
        elif not outcome["value"]["reads"]:
            faults.append(f"{name_of(node)} does not see what the driver wrote")
        elif not seen.get(node["id"]):
            why = reads.get("error", "")
            faults.append(f"the driver does not see what {name_of(node)} wrote {why}".rstrip())
    if faults:
        return [Finding("storage", "failure", f"{folder}: {fault}", shared) for fault in faults]
    text = f"{folder}: written and read from {_nodes(len(nodes))} and the driver"
    return [Finding("storage", "ok", text)]


def judge_reduction(backend: str, ranks: Sequence[Facts], names: Mapping[str, str]) -> Finding:
    """Say whether the ranks of all nodes summed together.

    Args:
        backend: gloo or nccl.
        ranks: Each rank's node and outcome.
        names: Names of nodes by their ids.
    """
    faults = [
        f"{names.get(rank['id'], '?')}: {rank['error']}" for rank in ranks if "error" in rank
    ]
    if faults:
        advice = (
            "Open all ports between the nodes, let their host names resolve to each other, and "
            f"name the network card: {'NCCL' if backend == 'nccl' else 'GLOO'}_SOCKET_IFNAME."
        )
        return Finding(backend, "failure", "; ".join(faults), advice)
    slowest = max(rank["value"] for rank in ranks)
    places = len({rank["id"] for rank in ranks})
    text = f"{len(ranks)} ranks on {_nodes(places)} summed together in {slowest:.2f} s"
    return Finding(backend, "ok", text)
