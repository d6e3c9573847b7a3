"""The half of `scpo doctor` that runs where the cluster is: facts to standard output, no opinion.

Usage: python -m cluster.doctor.program REQUEST, a JSON object: `address` (Ray's; "local" starts an
own short-lived Ray without a dashboard), `storage`, `token`, `paths`, `driver_paths`, `limit_s`.
Each fact is a line, PREFIX and a JSON object, printed as soon as it is known: what hangs later
takes nothing away. It runs as a job of the cluster, or beside `scpo doctor` itself.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from ray.util.state import list_nodes

from cluster.access import stores
from cluster.doctor import exchange, probes
from cluster.doctor.exchange import (
    read_file,
    reduce_here,
    reduce_together,
    remove_file,
    write_file,
)
from cluster.doctor.probes import EXPECTED, Probe, examine_node, look_at, nearest_folder

PREFIX = "SCPO-DOCTOR "
PROBE_SHARE = 0.6  # of the time, for each node's probes; the rest is for what they do together
STATE_API_S = 4
ENDING_S = 5.0
BACKENDS = ("gloo", "nccl")
Facts = dict[str, dict[str, Any]]


def main(request: dict[str, Any]) -> None:
    """Print every fact of the cluster that can be had in time."""
    until_s = time.monotonic() + request["limit_s"]
    watchdog = threading.Timer(request["limit_s"] + ENDING_S, os._exit, (1,))
    watchdog.daemon = True
    watchdog.start()  # Ray that hangs ends with this process
    probes_s = PROBE_SHARE * request["limit_s"]
    if request["storage"] and "://" not in request["storage"]:
        request["storage"] = str(nearest_folder(request["storage"]))
    tell("storage", request["storage"])
    paths = request["driver_paths"]
    if request["storage"]:
        place, token = request["storage"], request["token"]
        tell("driver wrote", Probe(lambda: write_file(place, token, "driver")).result(until_s - 3))
    own_paths = Probe(lambda: {name: look_at(path) for name, path in paths.items()})
    if request["address"] == "local":  # none of it needs Ray, which takes the longest to start
        here = Probe(lambda: tell_own(request, own_paths, until_s))
        nodes, _ = join_ray("local")
        facts = here.result(until_s).get("value", {})
    else:
        nodes, dashboard = join_ray(request["address"])
        state = Probe(lambda: count_nodes(dashboard))
        facts = ask_nodes(request, nodes, probes_s)
        tell("state api", state.result(until_s))
        tell_files(request, facts, own_paths, until_s)
    if nodes:
        meet(nodes, facts, until_s, ("nccl",) if request["address"] == "local" else BACKENDS)
    tell("end", True)


def tell(name: str, fact: Any) -> None:
    """Print one fact."""
    sys.stdout.write(f"{PREFIX}{json.dumps({'name': name, 'fact': fact})}\n")
    sys.stdout.flush()


def tell_own(request: dict[str, Any], own_paths: Probe, until_s: float) -> Facts:
    """Tell and return what this machine says of itself."""
    facts = {"here": examine_node(request, "here", PROBE_SHARE * request["limit_s"])}
    tell("node", {"id": "here", **facts["here"]})
    tell_files(request, facts, own_paths, until_s)
    limit_s = until_s - time.monotonic() - 1.0
    if "value" in facts["here"]["machine"] and "value" in facts["here"]["devices"] and limit_s > 0:
        port = facts["here"]["machine"]["value"]["port"]
        outcome = Probe(lambda: reduce_here(port, limit_s)).result(until_s - 0.5)
        tell("reduced", {"backend": "gloo", "ranks": [{"id": "here", **outcome}] * 2})
    return facts


def tell_files(request: dict[str, Any], facts: Facts, own_paths: Probe, until_s: float) -> None:
    """Tell what is seen of the storage and of the files that the driver reads."""
    if request["storage"]:
        tell("driver reads", check_files(request, facts, until_s))
    tell("driver paths", own_paths.result(until_s))


def join_ray(address: str) -> tuple[list[dict[str, Any]], str]:
    """Start or join Ray; return its living nodes, none where that fails, and its dashboard."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        quiet["include_dashboard"] = False
        quiet["_system_config"] = {"prestart_worker_first_driver": False}  # one, below, will do
    try:
        context = ray.init(address=address, **quiet)
        if address == "local":
            ray.get(ray.remote(answer).options(num_cpus=0).remote())
        # By value: a node may have another version of this package, or none.
        for module in (probes, exchange, stores):
            ray.cloudpickle.register_pickle_by_value(module)
        nodes = [node for node in ray.nodes() if node["Alive"]]
    except (*EXPECTED, RayError) as error:
        tell("ray", {"error": f"{type(error).__name__}: {error}"})
        return [], ""
    known = [
        {"id": n["NodeID"], "ip": n["NodeManagerAddress"], "resources": n["Resources"]}
        for n in nodes
    ]
    tell("ray", {"value": {"nodes": known, "dashboard": context.dashboard_url}})
    return known, context.dashboard_url or ""


def answer() -> bool:
    """Be the work of a worker that shows that workers start."""
    return True


def count_nodes(dashboard: str) -> int:
    """Return how many nodes the State API behind a dashboard, host:port, knows.

    Raises:
        RuntimeError: The cluster has no dashboard, whose part it is, or it does not answer.
    """
    if not dashboard:
        raise RuntimeError("the cluster has no dashboard")
    return len(list_nodes(address=f"http://{dashboard}", timeout=STATE_API_S))


def on_node(node: Mapping[str, Any], work: Callable[..., Any]) -> Any:
    """Return the work as a Ray task of one node that asks for no resources."""
    strategy = NodeAffinitySchedulingStrategy(node["id"], soft=False)
    return ray.remote(work).options(num_cpus=0, max_retries=0, scheduling_strategy=strategy)


def gather(tasks: Mapping[Any, Any], until_s: float, on_outcome: Callable[..., None]) -> None:
    """Call with the key and outcome of each task as it ends; those late are left alone."""
    waiting = {reference: key for key, reference in tasks.items()}
    while waiting and (left_s := until_s - time.monotonic()) > 0:
        done, _ = ray.wait(list(waiting), timeout=left_s)
        for reference in done:
            try:
                outcome = {"value": ray.get(reference)}
            except (*EXPECTED, RayError) as error:
                cause = getattr(error, "cause", None) or error
                outcome = {"error": f"{type(cause).__name__}: {str(cause).splitlines()[0]}"}
            on_outcome(waiting.pop(reference), outcome)
    for key in waiting.values():
        on_outcome(key, {"error": "no answer in time"})


def ask_nodes(request: dict[str, Any], nodes: list[dict[str, Any]], limit_s: float) -> Facts:
    """Tell and return what each node says of itself."""
    facts: Facts = {}

    def keep(key: str, outcome: dict[str, Any]) -> None:
        if "value" in outcome:
            facts[key] = outcome["value"]
        tell("node", {"id": key, **outcome.get("value", {"failed": outcome.get("error")})})

    tasks = {
        node["id"]: on_node(node, examine_node).remote(request, node["id"], limit_s - 1.5)
        for node in nodes
    }
    gather(tasks, time.monotonic() + limit_s, keep)
    return facts


def check_files(request: dict[str, Any], facts: Facts, until_s: float) -> dict[str, Any]:
    """Return whether each node's file is seen from here, and remove all of them."""
    place, token = request["storage"], request["token"]
    wrote = [key for key, fact in facts.items() if "value" in fact.get("storage", {})]

    def look() -> dict[str, bool]:
        seen = {key: read_file(place, token, key) for key in wrote}
        for key in (*wrote, "driver"):
            remove_file(place, token, key)
        return seen

    outcome = Probe(look).result(until_s - 2)
    for node_id, seen in outcome.get("value", {}).items():
        if not seen:  # written to a folder of that node alone
            on_node({"id": node_id}, remove_file).remote(place, token, node_id)
    return outcome


def meet(
    nodes: list[dict[str, Any]], facts: Facts, until_s: float, backends: Sequence[str]
) -> None:
    """Tell whether the nodes sum together over gloo, and over NCCL where they have GPUs."""
    if len(nodes) == 1:  # two ranks of one machine
        facts = {nodes[0]["id"]: next(iter(facts.values()), {})}
    gpus = {
        node["id"]: len(facts[node["id"]].get("devices", {}).get("value", {}).get("gpus", []))
        for node in nodes
        if node["id"] in facts
    }
    answered = [node for node in nodes if "value" in facts.get(node["id"], {}).get("machine", {})]
    ranks = [(node, 0) for node in answered]
    if len(ranks) == 1:
        ranks = [(answered[0], 0), (answered[0], 1)]
    with_gpus = [(node, device) for node, device in ranks if gpus[node["id"]] > device]
    for backend in backends:
        chosen = ranks if backend == "gloo" else with_gpus
        limit_s = until_s - time.monotonic() - 1.0
        if chosen and limit_s > 0:
            _reduce(backend, chosen, facts, limit_s)


def _reduce(
    backend: str, ranks: list[tuple[dict[str, Any], int]], facts: Facts, limit_s: float
) -> None:
    """Let ranks, each a node and a device, sum together, and tell each one's outcome."""
    first = ranks[0][0]
    port = facts[first["id"]]["machine"]["value"]["port"] + (backend == "nccl")
    tasks = {
        rank: on_node(node, reduce_together).remote(
            rank, len(ranks), first["ip"], port, backend, device, limit_s
        )
        for rank, (node, device) in enumerate(ranks)
    }
    outcomes: list[dict[str, Any]] = []

    def keep(rank: int, outcome: dict[str, Any]) -> None:
        outcomes.append({"id": ranks[rank][0]["id"], **outcome})

    gather(tasks, time.monotonic() + limit_s + 0.8, keep)
    tell("reduced", {"backend": backend, "ranks": outcomes})


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    ray.shutdown()
    os._exit(0)  # a probe that hangs must not keep this process
