"""Heads of real clusters, started as the profile `local` says but on ports of their own.

The cluster and each client are processes of their own: Ray keeps the token and its mode for as
long as a process lives. A cluster is ended by its process group, never by `ray stop`, which would
end every other cluster on the machine.
"""

import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from cluster.access.profile import load_profile

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Head:
    address: str
    environment: dict[str, str]  # of its clients
    group: int
    port: int  # of the control plane


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def cluster_folder() -> Iterator[Path]:
    """Yield a home with a token, short: Ray's sockets must keep to 107 bytes of path."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="sj"))
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_head(
    folder: Path,
    port: int,
    *,
    options: Sequence[str] = ("--num-cpus=1",),
    variables: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
    control_port: int | None = None,
) -> Iterator[Head]:
    """Start a head whose dashboard is at a port; end it at last.

    `variables` take the place of those that the profile sets, and `wrapper` is a command that
    starts another.
    """
    environment = {name: v for name, v in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        "HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_prestart_worker_first_driver": "0",
        "no_proxy": "127.0.0.1",
    }
    words = shlex.split(load_profile("local").start)
    settings = dict(word.split("=") for word in words[: words.index("ray")])
    control_port = control_port or free_port()
    moved = {"--port": control_port, "--dashboard-port": port}
    command = [
        *wrapper,
        *(f"{name}={moved[name]}" if (name := word.partition("=")[0]) in moved else word
          for word in words[words.index("ray") :]),
        *("--block", f"--temp-dir={folder}/ray", "--object-store-memory=100000000"), *options,
        f"--ray-client-server-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}",
    ]  # fmt: skip
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment | (settings if variables is None else dict(variables)),
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_for_dashboard(f"http://127.0.0.1:{port}", process, log)
        yield Head(f"http://127.0.0.1:{port}", environment, process.pid, control_port)
    finally:
        end_group(process)


def _wait_for_dashboard(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + 180
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/api/version", timeout=10).close()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 401:
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"no locked dashboard at {address}:\n{log.read_text()[-2000:]}")


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group, unless it has ended."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def kill_head(head: Head) -> None:
    """End a head and all that it started, the driver of its job too, as the loss of a machine."""
    processes = [psutil.Process(head.group)]
    processes += processes[0].children(recursive=True)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert psutil.wait_procs(processes, timeout=15)[1] == []
