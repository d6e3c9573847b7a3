"""The half of `scpo doctor` that runs on the cluster: it prints facts and judges nothing.

Usage: python -m cluster.doctor.program REQUEST, a JSON object: `address` (Ray's, or "local" for an
own short-lived Ray without a dashboard), `storage`, `token`, `paths`, `driver_paths`, `limit_s`.
Each fact is a line, FACT_PREFIX and a JSON object, printed as soon as it is known, so a check that
hangs later loses nothing. It runs as a job of the cluster, or beside `scpo doctor`.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from ray.util.state import list_nodes

from cluster.doctor import exchange, probes
from cluster.doctor.exchange import (
    read_file,
    reduce_here,
    reduce_together,
    remove_file,
    write_file,
)
from cluster.doctor.probes import (
    EXPECTED,
    FACT_PREFIX,
    Probe,
    examine_node,
    look_at,
    nearest_folder,
)
from scpo.files import places

_PROBE_SHARE = 0.6  # of the time, for each node's probes; the rest is for checks between nodes
_STATE_API_S = 4
_ENDING_S = 5.0
_REMOVE_S = 2.0
_NodeFacts = dict[str, dict[str, Any]]


def print_facts(request: dict[str, Any]) -> None:
    """Print all facts of the cluster that can be had in time."""
    until_s = time.monotonic() + request["limit_s"]
    if request["storage"] and "://" not in request["storage"]:
        request["storage"] = str(nearest_folder(request["storage"]))
    watchdog = threading.Timer(request["limit_s"] + _ENDING_S, _give_up, (request,))
    watchdog.daemon = True
    watchdog.start()  # a Ray that hangs ends with this process
    try:
        _print_all(request, until_s)
    finally:
        _remove_own_file(request)


def _give_up(request: dict[str, Any]) -> None:
    _remove_own_file(request)
    os._exit(1)


def _remove_own_file(request: dict[str, Any]) -> None:
    """Remove the driver's file, if the storage answers in time."""
    storage, token = request["storage"], request["token"]
    if storage:
        Probe(lambda: remove_file(storage, token, "driver")).result(time.monotonic() + _REMOVE_S)


def _print_all(request: dict[str, Any], until_s: float) -> None:
    is_local = request["address"] == "local"
    storage, token, paths = request["storage"], request["token"], request["driver_paths"]
    _print("storage", storage)
    if storage:
        wrote = Probe(lambda: write_file(storage, token, "driver")).result(until_s - 3)
        _print("driver wrote", wrote)
    own_paths = Probe(lambda: {name: look_at(path) for name, path in paths.items()})
    if is_local:  # Ray takes longest to start, and most checks here do not need it
        here = Probe(lambda: _examine_here(request, own_paths, until_s))
        nodes, _ = _join_ray("local")
        facts = here.result(until_s).get("value", {})
    else:
        nodes, dashboard = _join_ray(request["address"])
        state = Probe(lambda: _count_nodes(dashboard))
        facts = _examine_nodes(request, nodes, _PROBE_SHARE * request["limit_s"])
        _print("state api", state.result(until_s))
        _print_driver_files(request, facts, own_paths, until_s)
    if nodes:
        _reduce_over_nodes(nodes, facts, until_s, ("nccl",) if is_local else ("gloo", "nccl"))
    _print("end", True)


def _print(name: str, fact: Any) -> None:
    sys.stdout.write(f"{FACT_PREFIX}{json.dumps({'name': name, 'fact': fact})}\n")
    sys.stdout.flush()


def _examine_here(request: dict[str, Any], own_paths: Probe, until_s: float) -> _NodeFacts:
    """Print and return the facts of this machine, without Ray."""
    own = examine_node(request, "here", _PROBE_SHARE * request["limit_s"])
    _print("node", {"id": "here", **own})
    _print_driver_files(request, {"here": own}, own_paths, until_s)
    limit_s = until_s - time.monotonic() - 1.0
    if "value" in own["machine"] and "value" in own["devices"] and limit_s > 0:
        port = own["machine"]["value"]["port"]
        outcome = Probe(lambda: reduce_here(port, limit_s)).result(until_s - 0.5)
        _print("reduced", {"backend": "gloo", "ranks": [{"id": "here", **outcome}] * 2})
    return {"here": own}


def _print_driver_files(
    request: dict[str, Any], facts: _NodeFacts, own_paths: Probe, until_s: float
) -> None:
    """Print what the driver sees of the storage, and of the files that it reads."""
    if request["storage"]:
        _print("driver reads", _compare_files(request, facts, until_s))
    _print("driver paths", own_paths.result(until_s))


def _join_ray(address: str) -> tuple[list[dict[str, Any]], str]:
    """Start or join Ray; return its live nodes (none if that fails) and its dashboard."""
    untyped: Any = ray  # some of its functions have no types
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        settings |= {"include_dashboard": False, "num_cpus": 1}  # one worker is quick to start
    try:
        context = ray.init(address=address, **settings)
        if address == "local":  # does a worker start?
            ray.get(ray.remote(lambda: None).options(num_cpus=0).remote())
        # By value: a node may have another version of this package, or none.
        for module in (probes, exchange, places):
            untyped.cloudpickle.register_pickle_by_value(module)
        nodes = [node for node in untyped.nodes() if node["Alive"]]
    except (*EXPECTED, RayError) as error:
        _print("ray", {"error": f"{type(error).__name__}: {error}"})
        return [], ""
    told = {
        "id": "NodeID",
        "ip": "NodeManagerAddress",
        "resources": "Resources",
        "labels": "Labels",
    }
    known = [{name: node[key] for name, key in told.items()} for node in nodes]
    _print("ray", {"value": {"nodes": known, "dashboard": context.dashboard_url}})
    return known, context.dashboard_url or ""


def _count_nodes(dashboard: str) -> int:
    """Return how many nodes the State API, which a dashboard serves, lists."""
    if not dashboard:
        raise RuntimeError("the cluster has no dashboard")
    return len(list_nodes(address=f"http://{dashboard}", timeout=_STATE_API_S))


def _task_on(node: Mapping[str, Any], work: Callable[..., Any]) -> Any:
    """Return the work as a Ray task that runs on a node and needs no resources."""
    strategy = NodeAffinitySchedulingStrategy(node["id"], soft=False)
    return ray.remote(work).options(num_cpus=0, max_retries=0, scheduling_strategy=strategy)


def _outcomes(tasks: Mapping[Any, Any], until_s: float) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the key and outcome of each task as it ends, then of those that are late."""
    waiting = {reference: key for key, reference in tasks.items()}
    while waiting and (left_s := until_s - time.monotonic()) > 0:
        done, _ = ray.wait(list(waiting), timeout=left_s)
        for reference in done:
            try:
                outcome = {"value": ray.get(reference)}
            except (*EXPECTED, RayError) as error:
                cause = getattr(error, "cause", None) or error
                outcome = {"error": f"{type(cause).__name__}: {str(cause).splitlines()[0]}"}
            yield waiting.pop(reference), outcome
    for key in waiting.values():
        yield key, {"error": "no answer in time"}


def _examine_nodes(
    request: dict[str, Any], nodes: list[dict[str, Any]], limit_s: float
) -> _NodeFacts:
    tasks = {
        node["id"]: _task_on(node, examine_node).remote(request, node["id"], limit_s - 1.5)
        for node in nodes
    }
    facts: _NodeFacts = {}
    for key, outcome in _outcomes(tasks, time.monotonic() + limit_s):
        if "value" in outcome:
            facts[key] = outcome["value"]
        _print("node", {"id": key, **outcome.get("value", {"failed": outcome.get("error")})})
    return facts


def _compare_files(request: dict[str, Any], facts: _NodeFacts, until_s: float) -> dict[str, Any]:
    """Return whether the driver sees each node's file, and remove all the files."""
    storage, token = request["storage"], request["token"]
    wrote = [key for key, fact in facts.items() if "value" in fact.get("storage", {})]

    def compare() -> dict[str, bool]:
        try:
            return {key: read_file(storage, token, key) for key in wrote}
        finally:
            for key in (*facts, "driver"):  # a node that was late may have written, too
                remove_file(storage, token, key)

    outcome = Probe(compare).result(until_s - 2)
    for node_id, seen in outcome.get("value", {}).items():
        if not seen:  # the file is in a folder of that node alone
            _task_on({"id": node_id}, remove_file).remote(storage, token, node_id)
    return outcome


def _reduce_over_nodes(
    nodes: list[dict[str, Any]], facts: _NodeFacts, until_s: float, backends: Sequence[str]
) -> None:
    """Run an all-reduce over the nodes by gloo, and by NCCL over those with GPUs."""
    if len(nodes) == 1:
        facts = {nodes[0]["id"]: next(iter(facts.values()), {})}
    answered = [node for node in nodes if "value" in facts.get(node["id"], {}).get("machine", {})]
    ranks = [(node, 0) for node in answered]
    if len(ranks) == 1:
        ranks = [(answered[0], 0), (answered[0], 1)]
    gpus = {
        node["id"]: len(facts[node["id"]].get("devices", {}).get("value", {}).get("gpus", []))
        for node in answered
    }
    with_gpus = [(node, device) for node, device in ranks if gpus[node["id"]] > device]
    for backend in backends:
        chosen = ranks if backend == "gloo" else with_gpus
        limit_s = until_s - time.monotonic() - 1.0
        if chosen and limit_s > 0:
            _reduce(backend, chosen, facts, limit_s)


def _reduce(
    backend: str, ranks: list[tuple[dict[str, Any], int]], facts: _NodeFacts, limit_s: float
) -> None:
    """Run an all-reduce over ranks, each a node and a device, and print each one's outcome."""
    first = ranks[0][0]
    port = facts[first["id"]]["machine"]["value"]["port"] + (backend == "nccl")
    tasks = {
        rank: _task_on(node, reduce_together).remote(
            rank, len(ranks), first["ip"], port, backend, device, limit_s
        )
        for rank, (node, device) in enumerate(ranks)
    }
    outcomes = [
        {"id": ranks[rank][0]["id"], **outcome}
        for rank, outcome in _outcomes(tasks, time.monotonic() + limit_s + 0.8)
    ]
    _print("reduced", {"backend": backend, "ranks": outcomes})


if __name__ == "__main__":
    print_facts(json.loads(sys.argv[1]))
    ray.shutdown()
    os._exit(0)  # a probe that hangs must not keep this process alive
