"""Starting Ray or joining a cluster, and whether it has room for the workers."""

import logging
import os
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


def check_capacity(workers: int, *, use_gpu: bool) -> None:
    """Refuse workers that the cluster could never start: Ray would wait forever.

    Raises:
        RuntimeError: The cluster has fewer devices; the message shows the arithmetic.
    """
    name, need = ("GPU", float(workers)) if use_gpu else ("CPU", workers * CPUS_PER_WORKER)
    have = float(ray.cluster_resources().get(name, 0.0))
    if need > have + 1e-9:
        raise RuntimeError(
            f"{workers} workers need {need:g} {name}s, but the cluster has {have:g}. "
            "Ask for fewer workers, or add nodes."
        )
