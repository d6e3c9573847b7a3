"""Checks of `scpo doctor` on one node: functions that import only what they check.

They are sent to nodes by value, so they also run on a node without this package. Each probe runs
in its own thread with a time limit, so a network folder that hangs holds up nothing else. The
outcome of each is {"value": ...} or {"error": "what went wrong"}.
"""

import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.doctor.exchange import exchange_files

FACT_PREFIX = "SCPO-DOCTOR "  # of each line that `cluster.doctor.program` prints
PACKAGES = ("ray", "torch", "deepspeed", "transformers", "scpo")
EXPECTED = (OSError, RuntimeError, ValueError, ImportError, subprocess.SubprocessError)
Outcome = dict[str, Any]


class Probe(threading.Thread):
    """A check that runs in its own thread; it returns plain values."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.work = work
        self.outcome: Outcome | None = None
        self.start()

    def run(self) -> None:
        """Do the work and keep its outcome."""
        try:
            self.outcome = {"value": self.work()}
        except EXPECTED as error:
            self.outcome = {"error": f"{type(error).__name__}: {error}"}

    def result(self, until_s: float) -> Outcome:
        """Return the outcome, waiting for it until `time.monotonic()` is `until_s`."""
        self.join(max(0.0, until_s - time.monotonic()))
        if self.outcome is not None:
            return self.outcome
        return {"error": "no answer in time" if self.is_alive() else "the check itself failed"}


def examine_node(request: dict[str, Any], writer: str, limit_s: float) -> dict[str, Outcome]:
    """Run every probe on this node at once, and return the outcome of each by its name.

    Args:
        request: `storage`, the shared folder, and `token`, what to write there; `paths` to read,
            by name; `temp`, Ray's folder.
        writer: Name of this node's file in the storage.
        limit_s: Seconds after which a probe counts as hanging.
    """
    folders = {"Ray's folder": request["temp"]}
    if request["storage"] and "://" not in request["storage"]:
        folders["the storage"] = request["storage"]
    work: dict[str, Callable[[], Any]] = {
        "versions": find_versions,
        "machine": find_machine,
        "devices": find_devices,
        "compiler": find_compiler,
        "disk": lambda: {name: find_disk(folder) for name, folder in folders.items()},
        "paths": lambda: {name: look_at(path) for name, path in request["paths"].items()},
    }
    if request["storage"]:
        work["storage"] = lambda: exchange_files(request["storage"], request["token"], writer)
    until_s = time.monotonic() + limit_s
    probes = {name: Probe(each) for name, each in work.items()}
    return {name: probe.result(until_s) for name, probe in probes.items()}


def find_versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def find_machine() -> dict[str, Any]:
    """Return the name, CPUs, memory in bytes and a free port of this node.

    The memory is the smaller of what the kernel and what this process's control group have left.
    """
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    free = page * os.sysconf("SC_AVPHYS_PAGES")
    facts = Path("/proc/meminfo")
    if facts.is_file():
        lines = dict(line.split(":", 1) for line in facts.read_text().splitlines() if ":" in line)
        free = 1024 * int(lines["MemAvailable"].split()[0])
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and (allowed := limit.read_text().strip()) != "max":
        total = min(total, int(allowed))
        free = min(free, int(allowed) - int(used.read_text()))
    with socket.socket() as free_port:
        free_port.bind(("", 0))
        port = free_port.getsockname()[1]
    return {
        "host": socket.gethostname(),
        "cpus": os.cpu_count(),
        "total": total,
        "free": free,
        "port": port,
    }


def find_devices() -> dict[str, Any]:
    """Return the GPUs that torch sees, with name and bytes, and its backends gloo and NCCL."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":  # Ray hides them from a task that asks for 0
        del os.environ["CUDA_VISIBLE_DEVICES"]
    import torch

    gpus = []
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(number)
            gpus.append({"name": gpu.name, "bytes": gpu.total_memory})
    backends = {
        "gloo": torch.distributed.is_available() and torch.distributed.is_gloo_available(),
        "nccl": torch.distributed.is_available() and torch.distributed.is_nccl_available(),
    }
    return {"gpus": gpus, "backends": backends}


def find_compiler() -> dict[str, str | None]:
    """Return the paths of the C++ compiler, ninja and nvcc, which DeepSpeed's ops need."""
    cuda = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path=f"{cuda}/bin")
    return {
        "c++": shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++"),
        "ninja": shutil.which("ninja"),
        "nvcc": nvcc,
    }


def find_disk(folder: str) -> dict[str, Any]:
    """Return the total and free bytes of the disk of a folder that may not exist yet."""
    usage = shutil.disk_usage(nearest_folder(folder))
    return {"folder": folder, "total": usage.total, "free": usage.free}


def nearest_folder(folder: str) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    path = Path(os.path.expanduser(folder)).absolute()
    return next(parent for parent in (path, *path.parents) if parent.is_dir())


def look_at(path: str) -> dict[str, Any]:
    """Return whether a file, a folder or a model of the hub can be read, and how or why not."""
    file = Path(os.path.expanduser(path))
    if file.exists():
        readable = os.access(file, os.R_OK)
        return {"readable": readable, "how": str(file.absolute()) if readable else "no permission"}
    if not is_hub_name(path):
        return {"readable": False, "how": "no such file or folder"}
    import httpx2  # whose errors huggingface_hub lets through
    from huggingface_hub import constants, get_hf_file_metadata, try_to_load_from_cache

    name, _, revision = path.partition("@")
    if isinstance(try_to_load_from_cache(name, "config.json", revision=revision or None), str):
        return {"readable": True, "how": f"the hub's cache {constants.HF_HUB_CACHE}"}
    if constants.HF_HUB_OFFLINE:
        return {"readable": False, "how": "not in the hub's cache, and HF_HUB_OFFLINE is set"}
    url = f"{constants.ENDPOINT}/{name}/resolve/{revision or 'main'}/config.json"
    try:
        get_hf_file_metadata(url, timeout=4.0)
    except (OSError, httpx2.HTTPError) as error:
        how = f"{url}: {str(error).partition(chr(10))[0]}"
        if getattr(getattr(error, "response", None), "status_code", 0) in (401, 403):
            how += " Set HF_TOKEN, and accept the model's terms."
        return {"readable": False, "how": how}
    return {"readable": True, "how": f"the hub {constants.ENDPOINT}"}


def is_hub_name(path: str) -> bool:
    """Return whether a path looks like the name of a model on the hub, owner/model."""
    owner, _, model = path.partition("/")
    return bool(owner) and bool(model) and "/" not in model and owner[0] not in "./~"
