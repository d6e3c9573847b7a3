"""Checks of `scpo doctor` between nodes: files in the shared storage, and an all-reduce.

Like the probes, these functions are sent to nodes by value.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from scpo.files.places import open_store


def write_file(storage: str, token: str, writer: str) -> None:
    """Write the token into the writer's file in the storage."""
    system, path = _open_file(storage, token, writer)
    with system.open_output_stream(path) as stream:
        stream.write(token.encode())


def read_file(storage: str, token: str, writer: str) -> bool:
    """Return whether the writer's file is there with the token in it."""
    system, path = _open_file(storage, token, writer)
    if not system.get_file_info(path).is_file:
        return False
    with system.open_input_stream(path) as stream:
        return bool(stream.read() == token.encode())


def remove_file(storage: str, token: str, writer: str) -> None:
    """Remove the writer's file if it is there."""
    system, path = _open_file(storage, token, writer)
    if system.get_file_info(path).is_file:
        system.delete_file(path)


def _open_file(storage: str, token: str, writer: str) -> tuple[Any, str]:
    """Return pyarrow's file system of the storage, and the path of the writer's file."""
    if "://" not in storage and not Path(storage).is_dir():
        raise FileNotFoundError(f"no folder {storage} here")
    system, folder = open_store(storage, attempts=1)
    return system, f"{folder}/.scpo-doctor-{token}-{writer}"


def exchange_files(storage: str, token: str, writer: str) -> dict[str, bool]:
    """Write this node's file, and return whether this node sees the driver's file."""
    write_file(storage, token, writer)
    return {"reads": read_file(storage, token, "driver")}


def reduce_together(
    rank: int, size: int, host: str, port: int, backend: str, device: int, limit_s: float
) -> float:
    """Run an all-reduce by gloo, or by nccl on a GPU; return the seconds it took.

    Rank 0 listens at `host`:`port`, and each rank waits `limit_s` seconds for the others.

    Raises:
        RuntimeError: The ranks do not connect in time, or the sum is wrong.
    """
    import torch
    from torch import distributed

    if backend == "nccl" and os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        del os.environ["CUDA_VISIBLE_DEVICES"]
    started = time.monotonic()
    distributed.init_process_group(
        backend,
        init_method=f"tcp://{host}:{port}",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=limit_s),
    )
    try:
        where = f"cuda:{device}" if backend == "nccl" else "cpu"
        values = torch.full((1024,), rank + 1.0, device=where)
        distributed.all_reduce(values)
        if not bool((values == size * (size + 1) / 2).all()):
            raise RuntimeError(f"the sum over {size} ranks is wrong: {float(values[0])}")
    finally:
        distributed.destroy_process_group()
    return time.monotonic() - started


def reduce_here(port: int, limit_s: float) -> float:
    """Run an all-reduce by gloo between two ranks of this process; return the seconds it took.

    Raises:
        RuntimeError: The ranks do not connect in time, or the sum is wrong.
    """
    import torch

    groups: Any = torch.distributed
    started, limit = time.monotonic(), timedelta(seconds=limit_s)

    def add(rank: int) -> float:
        store = groups.TCPStore("127.0.0.1", port, 2, is_master=rank == 0, timeout=limit)
        values = torch.full((1024,), rank + 1.0)
        groups.ProcessGroupGloo(store, rank, 2, limit).allreduce([values]).wait()
        return float(values.mean())

    with ThreadPoolExecutor(2) as pool:
        sums = list(pool.map(add, (0, 1)))
    if sums != [3.0, 3.0]:
        raise RuntimeError(f"the sums over 2 ranks are wrong: {sums}")
    return time.monotonic() - started
