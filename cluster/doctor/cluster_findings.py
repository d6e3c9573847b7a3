"""Judges the facts of a whole cluster: its answer, token, nodes, files and capacity.

`cluster.doctor.node_findings` judges each subject on the nodes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from cluster.access.connection import asks_for_token
from cluster.doctor import node_findings as judge
from cluster.doctor.capacity import NodeCapacity, Processes, judge_capacity
from cluster.doctor.node_findings import LATE, RETRY_ADVICE, Finding, Severity, name_of, value_of
from cluster.doctor.probes import Outcome, is_hub_name
from cluster.doctor.transport import Collected
from scpo.choices import NODE_GROUP
from scpo.text.counts import format_count

_TOKEN_ADVICE = (  # nosec B105  # advice
    "Start Ray with RAY_AUTH_MODE=token and a token in ~/.ray/auth_token (mode 0600) on every "
    "node: anyone who reaches a cluster without a token can run code on it."
)

_GROWING_ADVICE = "To check one, have it there: min_workers (KubeRay: minReplicas) 1; ask again."


def judge_cluster(address: str, asked: Outcome, collected: Collected) -> list[Finding]:
    """Judge the answer at an address or "local", whether it asks for a token, and its State API.

    `asked` is the outcome of running the program that has `collected` the facts.
    """
    ray = collected.facts.get("ray", {})
    error = asked.get("error") or ray.get("error") or LATE["error"]
    if "value" not in ray:
        return [_judge_no_ray(address, error)]
    if address == "local":
        return [Finding("Ray on this machine", "ok", "a short-lived Ray without dashboard starts")]
    num_nodes = len(ray["value"]["nodes"])
    text = f"{address}: {format_count(num_nodes, 'node')}"
    found = [Finding("cluster", "ok", text)]
    if not collected.has_ended:
        text = f"{text}, but some facts are missing: {error}"
        found = [Finding("cluster", "warning", text, RETRY_ADVICE)]
    dashboard = address if "://" in address else ray["value"]["dashboard"]
    if dashboard:
        found.append(_judge_token(dashboard if "://" in dashboard else f"http://{dashboard}"))
    state = collected.facts.get("state api", LATE)
    if state == LATE:
        return [
            *found,
            Finding("state API", "warning", f"not checked: {LATE['error']}", RETRY_ADVICE),
        ]
    advice = "Start Ray with its dashboard, and install ray[default] on the head."
    if "error" in state:
        return [*found, Finding("state API", "failure", state["error"], advice)]
    if state["value"] < num_nodes:
        text = f"lists only {state['value']} of {format_count(num_nodes, 'node')}"
        return [*found, Finding("state API", "failure", text, advice)]
    return [*found, Finding("state API", "ok", f"lists {format_count(state['value'], 'node')}")]


def judge_nodes(
    collected: Collected, *, wants_gpus: bool, needed_bytes: int, code_is_sent: bool
) -> list[Finding]:
    """Judge the nodes for a run that writes `needed_bytes` to the storage."""
    facts, answered = collected.facts, _nodes_answered(collected)
    found = judge.judge_answers([*answered, *_nodes_silent(collected)])
    if not answered:
        return found
    found.append(judge.judge_versions(answered, code_is_sent=code_is_sent))
    wants_gpus = wants_gpus and not _can_grow(collected)
    found.append(judge.judge_devices(answered, wants_gpus=wants_gpus))
    names = {node["id"]: name_of(node) for node in answered}
    known = _nodes_known(collected)
    if len(known) == 1:
        names[known[0]["id"]] = name_of(answered[0])
    found += [judge.judge_reduction(r["backend"], r["ranks"], names) for r in collected.reduced]
    if "gloo" not in {reduced["backend"] for reduced in collected.reduced}:
        found.append(Finding("gloo", "warning", "not checked: out of time", RETRY_ADVICE))
    wrote, reads = facts.get("driver wrote", LATE), facts.get("driver reads", LATE)
    found += judge.judge_storage(facts.get("storage"), wrote, answered, reads)
    found += judge.judge_disk(answered, needed_bytes)
    found += judge.judge_memory(answered)
    found.append(judge.judge_compiler(answered))
    return found


def judge_paths(
    paths: Mapping[str, str], driver_paths: Mapping[str, str], collected: Collected
) -> list[Finding]:
    """Judge whether all nodes can read `paths`, and the driver `driver_paths`."""
    nodes = {name_of(node): node.get("paths", LATE) for node in _nodes_answered(collected)}
    driver = {"the driver": collected.facts.get("driver paths", LATE)}
    found = []
    for readers, places in ((nodes, paths), (driver, driver_paths)):
        for name, path in places.items():
            if readers:
                found.append(_judge_path(name, path, readers))
    return found


def judge_relative(places: Mapping[str, str | None]) -> list[Finding]:
    """Return a failure for each relative path, which a job would look for in its own folder."""
    return [
        Finding(
            name,
            "failure",
            f"{path} is relative, but a job runs in a copy of this folder without data and runs",
            "Give an absolute path that every node mounts.",
        )
        for name, path in places.items()
        if path and "://" not in path and path[0] not in "/~" and not is_hub_name(path)
    ]


def judge_fit(estimate: Mapping[str, Any], collected: Collected) -> list[Finding]:
    """Judge whether the processes of the run, if they could be estimated, fit on the nodes."""
    if "error" in estimate:
        advice = "Run it where torch and the model's config.json are, or as a job of the cluster."
        return [Finding("fit", "warning", f"not estimated: {estimate['error']}", advice)]
    nodes = node_capacities(collected)
    if not nodes:
        return [Finding("fit", "warning", "not checked: no node has answered", RETRY_ADVICE)]
    needs: Sequence[Processes] = estimate["value"][0]
    return [_judge_places(each, nodes, collected) for each in needs]


def _judge_places(
    needs: Processes, nodes: Sequence[NodeCapacity], collected: Collected
) -> Finding:
    """Judge the capacity; that places are missing is not shown where a node did not answer."""
    places = sum(node.num_placed(needs) for node in nodes)
    offered = {node["id"] for node in _nodes_known(collected)}
    silent = [name_of(node) for node in _nodes_silent(collected)]
    for node in _nodes_answered(collected):
        knows_gpus = node["id"] in offered or value_of(node, "devices") is not None
        if value_of(node, "machine") is None or (needs.gpus > 0 and not knows_gpus):
            silent.append(name_of(node))
    if silent and places < max(1, needs.number or 1):
        text = f"not checked: {LATE['error']} from {', '.join(silent)}"
        return Finding(f"fit: {needs.name}", "warning", text, RETRY_ADVICE)
    found = judge_capacity(needs, nodes)
    if places < max(1, needs.number or 1) and _can_grow(collected):
        text = f"{found.found} now; those that an autoscaler adds are not checked"
        return replace(found, level="warning", found=text, advice=_GROWING_ADVICE)
    return found


def node_capacities(collected: Collected) -> list[NodeCapacity]:
    """Return the capacity of each node; CPUs and GPUs as Ray offers them, else as counted."""
    resources = {node["id"]: node["resources"] for node in _nodes_known(collected)}
    capacities = []
    for node in _nodes_answered(collected):
        machine, gpus = value_of(node, "machine"), value_of(node, "devices", {}).get("gpus", [])
        if machine is None:
            continue
        counted = {"CPU": machine["cpus"], "GPU": len(gpus)}
        offered = resources.get(node["id"], counted)
        capacities.append(
            NodeCapacity(
                name_of(node),
                float(offered.get("CPU", 0)),
                float(offered.get("GPU", 0)),
                machine["free"],
                min((gpu["bytes"] for gpu in gpus), default=0),
            )
        )
    return capacities


def _judge_no_ray(address: str, error: str) -> Finding:
    text = error.removeprefix("RuntimeError: ").removeprefix("ValueError: ")
    if address != "local":
        advice = "Fix this first: nothing else was checked."
        if text == LATE["error"]:
            advice = f"{RETRY_ADVICE} Nothing else was checked."
        return Finding("cluster", "failure", text, advice)
    name = "Ray on this machine"
    if text == LATE["error"]:
        return Finding(name, "warning", text, f"Ray starts slowly. {RETRY_ADVICE}")
    advice = "Read /tmp/ray/session_latest/logs: often /tmp or /dev/shm is full."
    return Finding(name, "failure", text, advice)


def _judge_token(url: str) -> Finding:
    try:
        is_locked = asks_for_token(url)
    except (OSError, RuntimeError) as error:
        return Finding("authentication", "warning", f"not checked: {error}", _TOKEN_ADVICE)
    if is_locked:
        return Finding("authentication", "ok", f"{url} asks for a token")
    is_private = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    level: Severity = "warning" if is_private else "failure"
    return Finding("authentication", level, f"{url} needs no token", _TOKEN_ADVICE)


def _judge_path(name: str, path: str, readers: Mapping[str, Outcome]) -> Finding:
    answers = {who: facts["value"][name] for who, facts in readers.items() if "value" in facts}
    silent = [f"{who}: {facts['error']}" for who, facts in readers.items() if "value" not in facts]
    faults = [
        f"{who}: {answer['how']}" for who, answer in answers.items() if not answer["readable"]
    ]
    if faults:
        advice = "Put it at one absolute path that all of them mount."
        if is_hub_name(path):
            advice = (
                "Check the name, network and HF_TOKEN there, or run `hf download` there first."
            )
        return Finding(name, "failure", f"{path} is not readable: {'; '.join(faults)}", advice)
    if silent:
        advice = RETRY_ADVICE if LATE in readers.values() else "Check it there by hand."
        return Finding(name, "warning", f"{path}: not checked: {'; '.join(silent)}", advice)
    return Finding(name, "ok", f"{path}: {next(iter(answers.values()))['how']}")


def _nodes_answered(collected: Collected) -> list[dict[str, Any]]:
    return [node for node in collected.nodes if "failed" not in node]


def _nodes_known(collected: Collected) -> list[dict[str, Any]]:
    """Return the nodes that Ray lists as alive."""
    nodes: list[dict[str, Any]] = collected.facts.get("ray", {}).get("value", {}).get("nodes", [])
    return nodes


def _can_grow(collected: Collected) -> bool:
    """Return whether the cluster is one of `ray up` or KubeRay, which may add nodes."""
    return any(NODE_GROUP in node.get("labels", {}) for node in _nodes_known(collected))


def _nodes_silent(collected: Collected) -> list[dict[str, Any]]:
    """Return the nodes that failed to answer, and those that have not answered."""
    failed = [node for node in collected.nodes if "failed" in node]
    answered = {node["id"] for node in collected.nodes}
    if "here" in answered:
        return failed
    late = [node for node in _nodes_known(collected) if node["id"] not in answered]
    return failed + [{"id": node["id"], "failed": LATE["error"]} for node in late]
