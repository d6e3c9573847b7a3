"""Starting Ray or joining a cluster, and whether it has room for the workers."""

import logging
import os
from collections.abc import Mapping
from typing import Any

import ray.train

CPUS_PER_WORKER = 0.9  # leaves room on two cores for a driver that holds a fraction of one


def start_ray() -> None:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine, loopback only."""
    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)  # records and errors say it better
    # Ray must leave CUDA_VISIBLE_DEVICES alone for actors without GPUs (its coming default).
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "120")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # verbose=0 is silent only without it
    if "RAY_ADDRESS" in os.environ:
        ray.init(address=os.environ["RAY_ADDRESS"], **quiet)
    else:
        ray.init(address="local", include_dashboard=False, **quiet)


def worker_needs(workers: int, *, use_gpu: bool) -> dict[str, float]:
    """Return what so many workers take, by Ray's names."""
    return {"GPU": float(workers)} if use_gpu else {"CPU": workers * CPUS_PER_WORKER}


def describe_needs(needs: Mapping[str, float]) -> str:
    """Return needs beside the cluster, e.g. "2 CPUs (the cluster has 8, 1.5 free)"."""
    have, free = ray.cluster_resources(), ray.available_resources()
    return ", ".join(
        f"{need:g} {name}s (the cluster has {have.get(name, 0):g}, {free.get(name, 0):g} free)"
        for name, need in needs.items()
    )


def check_capacity(workers: int, *, use_gpu: bool) -> None:
    """Refuse workers that the cluster could never start: Ray would wait forever.

    Raises:
        RuntimeError: The cluster has fewer devices; the message shows the arithmetic.
    """
    have = ray.cluster_resources()
    for name, need in worker_needs(workers, use_gpu=use_gpu).items():
        if need > have.get(name, 0.0) + 1e-9:
            raise RuntimeError(
                f"{workers} workers need {need:g} {name}s, but the cluster has "
                f"{have.get(name, 0.0):g}. Ask for fewer workers, or add nodes."
            )
