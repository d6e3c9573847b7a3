"""Judges the facts of nodes: findings of `scpo doctor`, each with advice.

Pure: facts of `cluster.doctor.program` in, findings out. `cluster.doctor.capacity` judges whether
a configuration fits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from typing import Any, Literal

from packaging.requirements import Requirement

from scpo.text.counts import format_count

Severity = Literal["ok", "warning", "failure"]
Facts = Mapping[str, Any]
GIB = 2**30
_RAY_DISK_SHARE = 0.95  # on a disk fuller than this, Ray stores no objects
LATE = {"error": "no answer in time"}
RETRY_ADVICE = "Try again when the machines are less busy."
_LITTLE_DISK_BYTES, _LITTLE_MEMORY_BYTES = 10 * GIB, 2 * GIB
_MOUNT_ADVICE = "Mount one folder at the same path on every node, writable by Ray's user."
_BUCKET_ADVICE = (
    "On the nodes, check the bucket's name, the credentials (AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or the machine's role), AWS_REGION, and AWS_ENDPOINT_URL if it is set."
)


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    name: str  # what was checked
    level: Severity
    found: str
    advice: str = ""  # what to do; "" if nothing


def value_of(facts: Facts, name: str, default: Any = None) -> Any:
    """Return a probe's value, or the default if it has none."""
    return facts.get(name, {}).get("value", default)


def name_of(facts: Facts) -> str:
    """Return a node's host name, or the start of its id."""
    return str(value_of(facts, "machine", {}).get("host") or str(facts.get("id", "?"))[:12])


def tell_silent(probe: str, nodes: Sequence[Facts]) -> str:
    """Return on which nodes a probe has no value, in words; "" if it has one on all of them."""
    silent = [name_of(node) for node in nodes if value_of(node, probe) is None]
    return f"not checked on {', '.join(silent)}" if silent else ""


def judge_answers(nodes: Sequence[Facts]) -> list[Finding]:
    """Return a finding for each node that failed and each probe that failed."""
    found = []
    for node in nodes:
        if "failed" in node:
            advice = "Read raylet.log on that node; restart Ray there, or remove the node."
            found.append(Finding("nodes", "failure", f"{name_of(node)}: {node['failed']}", advice))
        for probe, outcome in node.items():
            is_judged_elsewhere = probe in ("storage", "paths")
            if isinstance(outcome, Mapping) and "error" in outcome and not is_judged_elsewhere:
                text = f"{name_of(node)}: {probe}: {outcome['error']}"
                advice = "Not checked on that node; check it there by hand."
                if outcome == LATE:
                    advice = RETRY_ADVICE
                found.append(Finding(probe, "warning", text, advice))
    return found


def judge_versions(nodes: Sequence[Facts], *, code_is_sent: bool = False) -> Finding:
    """Judge whether all nodes have the same versions, and versions that scpo can use.

    With `code_is_sent`, the job brings scpo along, so that nodes need not have it.
    """
    by_package: dict[str, dict[str, list[str]]] = {}
    for node in nodes:
        for package, version in value_of(node, "versions", {}).items():
            nodes_of = by_package.setdefault(package, {})
            nodes_of.setdefault(version or "not installed", []).append(name_of(node))
    if code_is_sent and set(by_package.get("scpo", {})) == {"not installed"}:
        del by_package["scpo"]
    faults = []
    for package, nodes_of in by_package.items():
        if len(nodes_of) > 1 or "not installed" in nodes_of:
            where = "; ".join(f"{version} on {', '.join(on)}" for version, on in nodes_of.items())
            faults.append(f"{package}: {where}")
        faults += [fault for version in nodes_of if (fault := _unsupported(package, version))]
    if faults:
        advice = "Install the same environment on all nodes: one container image or lock file."
        return Finding("versions", "failure", ". ".join(faults), advice)
    if silent := tell_silent("versions", nodes):
        return Finding("versions", "warning", silent, RETRY_ADVICE)
    same = ", ".join(f"{package} {next(iter(on))}" for package, on in by_package.items())
    return Finding("versions", "ok", f"{same}, on {format_count(len(nodes), 'node')}")


def judge_devices(nodes: Sequence[Facts], *, wants_gpus: bool) -> Finding:
    """Count CPUs and GPUs, and judge whether there are GPUs if the configuration needs them."""
    gpus: dict[str, int] = {}
    cpus = 0
    for node in nodes:
        cpus += value_of(node, "machine", {}).get("cpus") or 0
        for gpu in value_of(node, "devices", {}).get("gpus", []):
            name = f"{gpu['name']} ({gpu['bytes'] / GIB:.0f} GiB)"
            gpus[name] = gpus.get(name, 0) + 1
    text = ", ".join(f"{number} x {name}" for name, number in gpus.items()) or "no GPU"
    found = f"{cpus} CPUs, {text}"
    if silent := tell_silent("devices", nodes) or tell_silent("machine", nodes):
        is_partial = any(value_of(node, "devices") for node in nodes)
        found = f"{found}; {silent}" if is_partial else silent
        return Finding("devices", "warning", found, RETRY_ADVICE)
    if wants_gpus and not gpus:
        advice = "Set lanes.gpus to 0, or add nodes with GPUs, a driver and a CUDA build of torch."
        return Finding("devices", "failure", f"{found}, but the configuration needs GPUs", advice)
    return Finding("devices", "ok", found)


def judge_compiler(nodes: Sequence[Facts]) -> Finding:
    """Judge whether DeepSpeed could compile its own ops; scpo trains without them."""
    missing = []
    for node in nodes:
        tools = value_of(node, "compiler", {})
        has_gpus = bool(value_of(node, "devices", {}).get("gpus"))
        lacking = [tool for tool in tools if not tools[tool] and (tool != "nvcc" or has_gpus)]
        if lacking:
            missing.append(f"{name_of(node)} lacks {', '.join(lacking)}")
    if missing:
        advice = (
            "scpo trains without them, with torch's AdamW. For DeepSpeed's fused ops install "
            "g++ and ninja, and on GPU nodes the CUDA toolkit of torch's version."
        )
        return Finding("compiler", "warning", "; ".join(missing), advice)
    if silent := tell_silent("compiler", nodes):
        return Finding("compiler", "warning", silent, RETRY_ADVICE)
    return Finding("compiler", "ok", "DeepSpeed can compile its ops on every node")


def judge_disk(nodes: Sequence[Facts], needed_bytes: int = 0) -> list[Finding]:
    """Judge the free space of each disk; the run writes `needed_bytes` to the storage."""
    found, least = [], None
    for node in nodes:
        for name, disk in value_of(node, "disk", {}).items():
            free, share = disk["free"], 1 - disk["free"] / disk["total"]
            least = free if least is None else min(least, free)
            text = f"{name_of(node)}: {name} {disk['folder']}: {free / GIB:.1f} GiB free"
            needs = needed_bytes if name == "the storage" else 0
            advice = "Free space, or use another disk: --out, or --temp-dir of `ray start`."
            if free < max(needs, GIB) or share > _RAY_DISK_SHARE:
                why = f", {100 * share:.0f} % used"
                why += f"; the run writes {needs / GIB:.1f} GiB" if free < needs else ""
                why += "; Ray stops at 95 % used" if share > _RAY_DISK_SHARE else ""
                found.append(Finding("disk", "failure", f"{text}{why}", advice))
            elif free < _LITTLE_DISK_BYTES:
                found.append(Finding("disk", "warning", text, advice))
    if not found and least is not None:
        writes = f"; the run writes {needed_bytes / GIB:.1f} GiB" if needed_bytes else ""
        found.append(Finding("disk", "ok", f"at least {least / GIB:.1f} GiB free{writes}"))
    return found


def judge_memory(nodes: Sequence[Facts]) -> list[Finding]:
    """Judge whether each node has free memory."""
    free = {
        name_of(node): machine["free"] for node in nodes if (machine := value_of(node, "machine"))
    }
    advice = "Stop other programs there: Ray kills workers when memory is short."
    found = [
        Finding("memory", "failure", f"{name}: {left / GIB:.1f} GiB free", advice)
        for name, left in free.items()
        if left < _LITTLE_MEMORY_BYTES
    ]
    if not found and free:
        found = [Finding("memory", "ok", f"at least {min(free.values()) / GIB:.1f} GiB free")]
    return found


def judge_storage(
    folder: str | None, wrote: Facts, nodes: Sequence[Facts], reads: Facts
) -> list[Finding]:
    """Judge whether the driver and all nodes can write the storage and see the same files.

    `wrote` and `reads` are the outcomes on the driver: writing, and reading the nodes' files.
    """
    if folder is None:
        advice = "Give --out, the folder of a run, to check it."
        return [Finding("storage", "warning", "not checked: no folder given", advice)]
    advice = _BUCKET_ADVICE if "://" in folder else _MOUNT_ADVICE
    if "error" in wrote and wrote != LATE:
        return [Finding("storage", "failure", f"{folder}: {wrote['error']}", advice)]
    faults, seen = [], reads.get("value", {})
    silent = ["the driver"] if LATE in (wrote, reads) else []
    for node in nodes:
        outcome = node.get("storage", LATE)
        if outcome == LATE:
            silent.append(name_of(node))
        elif "error" in outcome:
            faults.append(f"{name_of(node)}: {outcome['error']}")
        elif not outcome["value"]["reads"]:
            if wrote != LATE:
                faults.append(f"{name_of(node)} does not see the driver's file")
        elif reads != LATE and not seen.get(node["id"]):
            why = f": {reads['error']}" if "error" in reads else ""
            faults.append(f"the driver does not see the file of {name_of(node)}{why}")
    found = [Finding("storage", "failure", f"{folder}: {fault}", advice) for fault in faults]
    if silent:
        text = f"{folder}: not checked: {LATE['error']} from {', '.join(silent)}"
        found.append(Finding("storage", "warning", text, RETRY_ADVICE))
    if found:
        return found
    text = f"{folder}: written and read from {format_count(len(nodes), 'node')} and the driver"
    return [Finding("storage", "ok", text)]


def judge_reduction(backend: str, ranks: Sequence[Facts], names: Mapping[str, str]) -> Finding:
    """Judge an all-reduce by gloo or nccl, from each rank's node and outcome."""
    faults = [
        f"{names.get(rank['id'], '?')}: {rank['error']}" for rank in ranks if "error" in rank
    ]
    if faults:
        advice = (
            "Open all ports between the nodes, check that their host names resolve, and set the "
            f"network interface: {backend.upper()}_SOCKET_IFNAME."
        )
        if all(rank.get("error", LATE["error"]) == LATE["error"] for rank in ranks):
            advice = f"{RETRY_ADVICE} If that does not help: {advice}"
            return Finding(backend, "warning", f"not checked: {'; '.join(faults)}", advice)
        return Finding(backend, "failure", "; ".join(faults), advice)
    slowest = max(rank["value"] for rank in ranks)
    nodes = format_count(len({rank["id"] for rank in ranks}), "node")
    text = f"all-reduce over {len(ranks)} ranks on {nodes} in {slowest:.2f} s"
    return Finding(backend, "ok", text)


def _unsupported(package: str, version: str) -> str:
    """Return how a version breaks the requirements of scpo; "" if it does not."""
    try:
        requirements = [Requirement(text) for text in requires("scpo") or []]
    except PackageNotFoundError:  # a copy of the sources, not an installed package
        return ""
    for requirement in requirements:
        is_installed = requirement.name == package and version != "not installed"
        if is_installed and not requirement.specifier.contains(version, prereleases=True):
            return f"{package} {version}, but scpo needs {requirement.specifier}"
    return ""
