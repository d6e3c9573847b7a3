"""What the facts of a whole cluster come to: its answer, token, nodes, files and room.

As of `cluster.doctor.findings`, whose judgements of single matters are put together here.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from cluster.doctor import findings as judge
from cluster.doctor.capacity import NodeCapacity, Processes, judge_capacity
from cluster.doctor.findings import Finding, Level, name_of, value_of
from cluster.doctor.probes import Outcome, is_hub_name
from cluster.doctor.transport import Collected, is_open

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LATE = {"error": "no answer in time"}
AGAIN = "Mend what is said above, and ask again when less runs there."


def judge_cluster(where: str, told: Outcome, collected: Collected) -> list[Finding]:
    """Say how the cluster answered, and whether it asks for a token.

    Args:
        where: The address, or "local".
        told: What came of asking: an error, or nothing.
        collected: The facts.
    """
    ray = collected.facts.get("ray", {})
    error = told.get("error") or ray.get("error")
    name = "Ray on this machine" if where == "local" else "cluster"
    if "value" not in ray:
        text = str(error or LATE["error"])
        text = text.removeprefix("RuntimeError: ").removeprefix("ValueError: ")
        advice = "Mend this first: nothing else was seen of the cluster."
        is_late = where == "local" and text == LATE["error"]
        if is_late:
            advice = "Ray takes longer to start than this waits: ask again when less runs here."
        elif where == "local":
            advice = "Look into /tmp/ray/session_latest/logs: often /tmp or /dev/shm is full."
        return [Finding(name, "warning" if is_late else "failure", text, advice)]
    nodes = ray.get("value", {}).get("nodes", [])
    if where == "local":
        return [Finding(name, "ok", "an own short-lived Ray started, without a dashboard")]
    found = [Finding(name, "ok", f"{where}: {len(nodes)} nodes")]
    if not collected.has_ended:
        text = f"{where}: {len(nodes)} nodes, but not all has been said: {error or 'late'}"
        found = [Finding(name, "warning", text, AGAIN)]
    dashboard = where if "://" in where else ray.get("value", {}).get("dashboard", "")
    if dashboard:
        found.append(_judge_token(dashboard if "://" in dashboard else f"http://{dashboard}"))
    state = collected.facts.get("state api", {"error": "no answer in time"})
    advice = "Start Ray with its dashboard, and install ray[default] on the head."
    if "error" in state:
        found.append(Finding("state API", "failure", state["error"], advice))
    elif state["value"] < len(nodes):
        text = f"it knows {state['value']} of {len(nodes)} nodes"
        found.append(Finding("state API", "failure", text, advice))
    else:
        found.append(Finding("state API", "ok", f"it knows {state['value']} nodes"))
    return found


def _judge_token(url: str) -> Finding:
    """Say whether a dashboard asks for a token; whoever reaches an open one runs code there."""
    advice = (
        "Start Ray with RAY_AUTH_MODE=token and a token in ~/.ray/auth_token (mode 0600) on every "
        "node; whoever reaches an open cluster runs code on it."
    )
    try:
        open_to_all = is_open(url)
    except (OSError, ValueError) as error:
        text = f"the dashboard {url} does not answer: {error}"
        return Finding("authentication", "warning", text, advice)
    if not open_to_all:
        return Finding("authentication", "ok", f"{url} asks for a token")
    level: Level = "warning" if urlsplit(url).hostname in LOOPBACK else "failure"
    return Finding("authentication", level, f"{url} lets anybody in without a token", advice)


def judge_nodes(
    collected: Collected, *, wants_gpus: bool, needed_bytes: int, code_is_sent: bool
) -> list[Finding]:
    """Say what the nodes told.

    Args:
        collected: The facts.
        wants_gpus: Whether GPUs are asked for.
        needed_bytes: What the run writes to the storage.
        code_is_sent: Whether a job brings this package along.
    """
    facts, heard = collected.facts, nodes_heard(collected)
    found = judge.judge_answers([*heard, *_nodes_silent(collected)])
    if not heard:
        return found
    found.append(judge.judge_versions(heard, code_is_sent=code_is_sent))
    found.append(judge.judge_devices(heard, wants_gpus=wants_gpus))
    names = {node["id"]: name_of(node) for node in heard}
    known = _nodes_known(collected)
    if len(known) == 1:
        names[known[0]["id"]] = name_of(heard[0])
    found += [judge.judge_reduction(r["backend"], r["ranks"], names) for r in collected.reduced]
    if "gloo" not in {reduced["backend"] for reduced in collected.reduced}:
        found.append(Finding("gloo", "warning", "not tried: no time was left", AGAIN))
    wrote, reads = facts.get("driver wrote", LATE), facts.get("driver reads", LATE)
    found += judge.judge_storage(facts.get("storage"), wrote, heard, reads)
    found += judge.judge_disk(heard, needed_bytes)
    found += judge.judge_memory(heard)
    found.append(judge.judge_compiler(heard))
    return found


def judge_paths(
    paths: Mapping[str, str], driver_paths: Mapping[str, str], collected: Collected
) -> list[Finding]:
    """Say which files, folders and hub names can be read from where they must.

    Args:
        paths: By name, what every node must read.
        driver_paths: By name, what the driver must.
        collected: The facts.
    """
    heard = nodes_heard(collected)
    seen_by = {name_of(node): node.get("paths", LATE) for node in heard}
    places = [(name, path, seen_by) for name, path in paths.items()]
    driver = {"the driver": collected.facts.get("driver paths", LATE)}
    places += [(name, path, driver) for name, path in driver_paths.items()]
    found = []
    for name, path, seen in places:
        no_answer = {name: {"readable": False, "how": LATE["error"]}}
        answers = {who: outcome.get("value", no_answer)[name] for who, outcome in seen.items()}
        lacking = [f"{who}: {a['how']}" for who, a in answers.items() if not a["readable"]]
        from_hub = [who for who, a in answers.items() if a["how"].startswith("the hub")]
        if lacking:
            text = f"{path} is not readable: {'; '.join(lacking)}"
            advice = "Put it where they read it, under one absolute path that all mount."
            if is_hub_name(path):
                advice = "Download it first (hf download), with HF_HOME a folder that all mount."
            found.append(Finding(name, "failure", text, advice))
        elif len(answers) > 1 and from_hub:
            text = f"{path} comes from the hub, and lanes read the driver's copy of it"
            advice = "Set HF_HOME on every node to one folder that all mount."
            found.append(Finding(name, "warning", text, advice))
        elif answers:
            found.append(Finding(name, "ok", f"{path}: {next(iter(answers.values()))['how']}"))
    return found


def judge_relative(places: Mapping[str, str | None]) -> list[Finding]:
    """Say which paths would mean something else on the cluster, where a job has its own folder.

    Args:
        places: By name, paths of a run that is to be submitted.
    """
    return [
        Finding(
            name,
            "failure",
            f"{path} is relative, and a job runs in a copy of this folder without data and runs",
            "Give an absolute path that the cluster's nodes mount.",
        )
        for name, path in places.items()
        if path and "://" not in path and path[0] not in "/~" and not is_hub_name(path)
    ]


def judge_fit(estimate: Mapping[str, Any], collected: Collected) -> list[Finding]:
    """Say whether the processes of the run fit the nodes.

    Args:
        estimate: Outcome of the estimate: the kinds of processes, and the bytes on disk.
        collected: The facts.
    """
    if "error" in estimate:
        advice = "Run it where the model's config.json and torch are, or in a job of the cluster."
        return [Finding("fit", "warning", f"not estimated: {estimate['error']}", advice)]
    nodes = node_capacities(collected)
    if not nodes:
        return [Finding("fit", "warning", "not known: no node has answered", AGAIN)]
    needs: Sequence[Processes] = estimate["value"][0]
    return [judge_capacity(each, nodes) for each in needs]


def node_capacities(collected: Collected) -> list[NodeCapacity]:
    """Return what each node has by Ray and by its own word; where Ray is none, by its own."""
    resources = {node["id"]: node["resources"] for node in _nodes_known(collected)}
    found = []
    for node in nodes_heard(collected):
        machine, gpus = value_of(node, "machine"), value_of(node, "devices", {}).get("gpus", [])
        if machine is None:
            continue
        own = {"CPU": machine["cpus"], "GPU": len(gpus)}
        given = resources.get(node["id"], own)
        found.append(
            NodeCapacity(
                name_of(node),
                float(given.get("CPU", 0)),
                float(given.get("GPU", 0)),
                machine["free"],
                min((gpu["bytes"] for gpu in gpus), default=0),
            )
        )
    return found


def nodes_heard(collected: Collected) -> list[dict[str, Any]]:
    """Return the facts of the nodes that have answered."""
    return [node for node in collected.nodes if "failed" not in node]


def _nodes_known(collected: Collected) -> list[dict[str, Any]]:
    """Return the nodes that Ray counts as living."""
    nodes: list[dict[str, Any]] = collected.facts.get("ray", {}).get("value", {}).get("nodes", [])
    return nodes


def _nodes_silent(collected: Collected) -> list[dict[str, Any]]:
    """Return the nodes that failed to answer, and those of whom nothing came."""
    failed = [node for node in collected.nodes if "failed" in node]
    told = {node["id"] for node in collected.nodes}
    if "here" in told:
        return failed
    late = [node for node in _nodes_known(collected) if node["id"] not in told]
    return failed + [{"id": node["id"], "failed": LATE["error"]} for node in late]
