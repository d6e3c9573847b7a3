"""Starting Ray or joining a cluster, and whether it has room for the workers."""

import logging
import os
from collections.abc import Mapping
from typing import Any

import ray.train

CPUS_PER_WORKER = 0.9  # leaves room on two cores for a driver that holds a fraction of one
START_TIMEOUT = ("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "120")  # of a group, twice


def start_ray() -> None:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine, loopback only."""
    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)  # records and errors say it better
    # Ray must leave CUDA_VISIBLE_DEVICES alone for actors without GPUs (its coming default).
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault(*START_TIMEOUT)
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # verbose=0 is silent only without it
    if "RAY_ADDRESS" in os.environ:
        ray.init(address=os.environ["RAY_ADDRESS"], **quiet)
    else:
        ray.init(address="local", include_dashboard=False, **quiet)


def alive_nodes() -> list[dict[str, Any]]:
    """Return Ray's description of each node that is alive."""
    return [node for node in ray.nodes() if node["Alive"]]


def places_by_node(each: Mapping[str, float]) -> list[int]:
    """Return how many processes with these needs, by Ray's names, each living node holds."""
    return [
        min(
            int(node["Resources"].get(name, 0.0) / need + 1e-9)
            for name, need in each.items()
            if need > 0
        )
        for node in alive_nodes()
    ]


def count_groups(workers: int, each: Mapping[str, float]) -> int:
    """Return how many groups of so many workers the nodes hold.

    A group lies on one node; groups span nodes only where no node holds a whole one.
    """
    places = places_by_node(each)
    on_one = sum(number // workers for number in places)
    return on_one or sum(places) // workers


def describe_needs(needs: Mapping[str, float]) -> str:
    """Return needs beside the cluster, e.g. "2 CPUs (the cluster has 8, 1.5 free)"."""
    have, free = ray.cluster_resources(), ray.available_resources()
    return ", ".join(
        f"{need:g} {name}s (the cluster has {have.get(name, 0):g}, {free.get(name, 0):g} free)"
        for name, need in needs.items()
    )


def describe_processes(workers: int, each: Mapping[str, float]) -> str:
    """Return what a group takes, e.g. "1 CPU and 1 GPU" or "2 x (1 CPU and 1 GPU)"."""
    parts = [f"{need:g} {name}{'' if need == 1 else 's'}" for name, need in each.items()]
    words = " and ".join(parts)
    return words if workers == 1 else f"{workers} x ({words})"


def check_capacity(workers: int, each: Mapping[str, float]) -> None:
    """Refuse a group of workers that the nodes could never hold: Ray would wait forever.

    Raises:
        RuntimeError: The nodes have room for fewer; the message shows the arithmetic.
    """
    room = sum(places_by_node(each))
    if room < workers:
        have = ray.cluster_resources()
        cluster = " and ".join(f"{have.get(name, 0.0):g} {name}s" for name in each)
        raise RuntimeError(
            f"{workers} workers need {describe_processes(workers, each)}, but the cluster has "
            f"{cluster} on {len(alive_nodes())} nodes: room for {room}. Ask for fewer workers, "
            "or add nodes."
        )
