"""Starting Ray or joining a cluster, and whether it has room for the workers."""

import logging
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import grpc
import ray.train
import ray.util.client
from ray.job_config import JobConfig

import scpo
from scpo.choices import NODE_GROUP
from scpo.files.places import shorten_ray_temp
from scpo.interrupts import keep_handlers
from scpo.lost_cluster import ClusterWatch
from scpo.text.counts import format_count
from scpo.text.terminal import warn

CPUS_PER_WORKER = 0.9  # leaves room on two cores for a driver that holds a fraction of one
# Records and errors say it better; Tune logs a traceback for every lane that dies.
_LOGS = {"ray": logging.ERROR, "ray.train": logging.ERROR, "ray.tune": logging.CRITICAL}
_ANSWER_S = 5.0  # for a connection, and again for Ray's protocol
START_TIMEOUT_S = 900.0  # an autoscaler may need minutes for a node


def start_ray() -> None:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine, loopback only.

    Raises:
        RuntimeError: No cluster answers at RAY_ADDRESS within 10 s; Ray itself would wait for
            many minutes.
        ValueError: RAY_ADDRESS is that of a dashboard, or no address.
    """
    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    for name, level in _LOGS.items():
        logging.getLogger(name).setLevel(level)
    # Ray must leave CUDA_VISIBLE_DEVICES alone for actors without GPUs (its coming default).
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # verbose=0 is silent only without it
    check_cluster()
    with keep_handlers():  # Ray's own ends the process without a word
        if address := _named_address():
            ray.init(address=address, **quiet)
        else:
            if short := shorten_ray_temp():
                warn(f"TMPDIR is too long for Ray's sockets: its files are in {short}.")
            ray.init(
                address="local", include_dashboard=False, job_config=own_paths_only(), **quiet
            )
    _watch_cluster(is_own=not address)


def _watch_cluster(*, is_own: bool) -> None:
    """Have the command end in time, and in words, where the cluster dies under it."""
    if ray.util.client.ray.is_connected():
        return  # by ray://, whose server tells the client
    context = ray.get_runtime_context()
    [node] = [node for node in ray.nodes() if node["NodeID"] == context.get_node_id()]
    host, _, port = context.gcs_address.rpartition(":")
    ClusterWatch(
        (host.strip("[]"), int(port)),
        (node["NodeManagerAddress"], node["NodeManagerPort"]),
        is_own=is_own,
        is_connected=ray.is_initialized,
    ).start()


def check_cluster() -> None:
    """Refuse a RAY_ADDRESS that does not answer, before long work whose next step is on Ray.

    Raises:
        RuntimeError, ValueError: As of `start_ray`.
    """
    if not ray.is_initialized() and (address := _named_address()):
        check_answers(address)


def _named_address() -> str:
    return os.environ.get("RAY_ADDRESS", "").strip()


def own_paths_only() -> JobConfig:
    """Return a job whose workers import nothing from the current directory: data may lie there.

    Ray would put it before everything else. It stays where this package is run from its sources.

    Raises:
        RuntimeError: This version of Ray keeps the paths elsewhere; its setting is a private one.
    """
    config = JobConfig()
    if not isinstance(getattr(config, "_py_driver_sys_path", None), list):
        raise RuntimeError(
            f"Ray {ray.__version__} would let its workers import files of the current directory. "
            "Install a release that scpo names, below 2.61."
        )
    config._py_driver_sys_path = _OwnPaths()
    return config


class _OwnPaths(list[str]):
    """Paths of modules, of which only that of this package is taken up."""

    def extend(self, paths: Iterable[str]) -> None:
        super().extend(path for path in paths if Path(path) == Path(scpo.__file__).parents[1])


def check_answers(address: str) -> None:
    """Refuse a cluster that is not there: Ray itself would wait for many minutes.

    Raises:
        RuntimeError: Nothing that speaks Ray's protocol answers within 10 s.
        ValueError: The address is that of a dashboard, or none.
    """
    if address.startswith(("http://", "https://")):
        raise ValueError(
            f"RAY_ADDRESS={address} is the address of a dashboard, which takes jobs: use `scpo "
            "submit`. To run here unset RAY_ADDRESS; to join from a node give HOST:6379."
        )
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(
            f"RAY_ADDRESS must be HOST:PORT, ray://HOST:PORT, auto or local, but got {address!r}. "
            "Correct it; unset it to run on this machine alone."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
        if os.environ.get("RAY_USE_TLS", "0") in ("", "0"):
            channel = grpc.insecure_channel(f"{host}:{port}")
            grpc.channel_ready_future(channel).result(timeout=_ANSWER_S)
            channel.close()
    except (OSError, ValueError, OverflowError, grpc.FutureTimeoutError) as error:
        reason = str(error) or "no answer"
        raise RuntimeError(
            f"A Ray cluster must answer at RAY_ADDRESS={address}, but got: {reason}. Start it, "
            "or correct RAY_ADDRESS; unset it to run on this machine alone."
        ) from error


def alive_nodes() -> list[dict[str, Any]]:
    """Return Ray's description of each node that is alive."""
    return [node for node in ray.nodes() if node["Alive"]]


def can_grow() -> bool:
    """Tell whether the cluster is one of `ray up` or KubeRay, which may add nodes."""
    return any(NODE_GROUP in node["Labels"] for node in alive_nodes())


def places_by_node(each: Mapping[str, float]) -> list[int]:
    """Return how many processes with these needs, by Ray's names, each living node holds."""
    return [
        min(
            _places_of(name, node["Resources"].get(name, 0.0), need)
            for name, need in each.items()
            if need > 0
        )
        for node in alive_nodes()
    ]


def _places_of(name: str, have: float, need: float) -> int:
    if name == "GPU" and need < 1:  # Ray takes a fraction from one GPU
        return int(have) * int(1 / need + 1e-9)
    return int(have / need + 1e-9)


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

    Where nodes can come, the group waits for them, and an autoscaler sees it wait.

    Raises:
        RuntimeError: The nodes have room for fewer; the message shows the arithmetic.
    """
    room = sum(places_by_node(each))
    if room < workers and not can_grow():
        have = ray.cluster_resources()
        cluster = " and ".join(f"{have.get(name, 0.0):g} {name}s" for name in each)
        raise RuntimeError(
            f"{workers} workers need {describe_processes(workers, each)}, but the cluster has "
            f"{cluster} on {format_count(len(alive_nodes()), 'node')}: room for {room}. "
            "Ask for fewer workers, or add nodes."
        )
