"""What nodes do together for `scpo doctor`: files of one storage, and one sum over all of them.

As of the probes, these functions travel to nodes by value.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from scpo.files.places import open_store


def open_storage(storage: str) -> tuple[Any, str]:
    """Return a pyarrow file system and the folder in it.

    Raises:
        OSError: The storage cannot be reached.
    """
    if "://" not in storage and not Path(storage).is_dir():
        raise FileNotFoundError(f"no folder {storage} here")
    return open_store(storage, attempts=1)


def write_file(storage: str, token: str, writer: str) -> None:
    """Write the token into a file of its own in the storage."""
    system, folder = open_storage(storage)
    with system.open_output_stream(f"{folder}/.scpo-doctor-{token}-{writer}") as stream:
        stream.write(token.encode())


def read_file(storage: str, token: str, writer: str) -> bool:
    """Tell whether what another node wrote is there, and is what it should be."""
    system, folder = open_storage(storage)
    name = f"{folder}/.scpo-doctor-{token}-{writer}"
    if not system.get_file_info(name).is_file:
        return False
    with system.open_input_stream(name) as stream:
        return bool(stream.read() == token.encode())


def remove_file(storage: str, token: str, writer: str) -> None:
    """Remove what a node wrote, where it is."""
    system, folder = open_storage(storage)
    name = f"{folder}/.scpo-doctor-{token}-{writer}"
    if system.get_file_info(name).is_file:
        system.delete_file(name)


def exchange_files(storage: str, token: str, writer: str) -> dict[str, bool]:
    """Write this node's file and tell whether that of the driver is seen from here."""
    write_file(storage, token, writer)
    return {"reads": read_file(storage, token, "driver")}


def reduce_together(
    rank: int, size: int, host: str, port: int, backend: str, device: int, limit_s: float
) -> float:
    """Meet the other ranks at host:port and sum over all of them; return the seconds it took.

    Raises:
        RuntimeError: They do not meet in time, or the sum is wrong.
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
        place = f"cuda:{device}" if backend == "nccl" else "cpu"
        given = torch.full((1024,), rank + 1.0, device=place)
        distributed.all_reduce(given)
        if not bool((given == size * (size + 1) / 2).all()):
            raise RuntimeError(f"the sum over {size} ranks is {float(given[0])}")
    finally:
        distributed.destroy_process_group()
    return time.monotonic() - started


def reduce_here(port: int, limit_s: float) -> float:
    """Let two ranks of this process sum over gloo; return the seconds it took.

    Raises:
        RuntimeError: They do not meet in time, or the sum is wrong.
    """
    import torch

    groups: Any = torch.distributed
    started, limit = time.monotonic(), timedelta(seconds=limit_s)

    def add(rank: int) -> float:
        store = groups.TCPStore("127.0.0.1", port, 2, is_master=rank == 0, timeout=limit)
        given = torch.full((1024,), rank + 1.0)
        groups.ProcessGroupGloo(store, rank, 2, limit).allreduce([given]).wait()
        return float(given.mean())

    with ThreadPoolExecutor(2) as pool:
        sums = list(pool.map(add, (0, 1)))
    if sums != [3.0, 3.0]:
        raise RuntimeError(f"the sums over 2 ranks are {sums}")
    return time.monotonic() - started
