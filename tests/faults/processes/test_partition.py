"""Two nodes in networks of their own, of which one is cut off in mid-search.

It needs root and `ip`: each node's raylet runs in a network namespace, joined by a cable that can
be pulled. The search goes on without the node, and does what that had in hand once more.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import yaml

from sweeps.ledger.records import LEDGER_NAME
from tests.faults.processes.disturbed_sweep import ACTOR, result_of, write_config
from tests.sweeps.stages.test_killed_often import count_lines

HEAD, NODE = "10.231.0.1", "10.231.0.2"
PORT = 6379
LIMIT_S = 300.0
BIN = Path(sys.executable).parent
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces need root and ip"
)


@dataclass
class Network:
    """Two namespaces and the cable between them."""

    spaces: tuple[str, str] = (f"scpo-{os.getpid()}-a", f"scpo-{os.getpid()}-b")
    cables: tuple[str, str] = (f"sa{os.getpid()}", f"sb{os.getpid()}")
    started: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def build(self) -> None:
        for space in self.spaces:
            _ip("netns", "add", space)
        _ip("link", "add", self.cables[0], "type", "veth", "peer", "name", self.cables[1])
        for space, cable, address in zip(self.spaces, self.cables, (HEAD, NODE), strict=True):
            _ip("link", "set", cable, "netns", space)
            _ip("-n", space, "addr", "add", f"{address}/24", "dev", cable)
            _ip("-n", space, "link", "set", cable, "up")
            _ip("-n", space, "link", "set", "lo", "up")

    def start(
        self, where: int, *words: str, err: Path, **environment: str
    ) -> "subprocess.Popen[bytes]":
        """Start a program in one of the namespaces."""
        command = ["ip", "netns", "exec", self.spaces[where], *words]
        with err.open("ab") as file:
            process = subprocess.Popen(
                command,
                env={**os.environ, "RAY_AUTH_MODE": "disabled", **environment},
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def start_nodes(self, folder: Path) -> None:
        """Start a node of one CPU in each namespace."""
        ray = (str(BIN / "ray"), "start", "--block", "--num-cpus=1", "--disable-usage-stats")
        small = "--object-store-memory=80000000"
        head = ("--head", f"--port={PORT}", "--include-dashboard=false")
        self.start(0, *ray, small, *head, f"--node-ip-address={HEAD}", err=folder / "head")
        time.sleep(8)
        node = (f"--address={HEAD}:{PORT}", f"--node-ip-address={NODE}")
        self.start(1, *ray, small, *node, err=folder / "node")

    def plug(self, state: str) -> None:
        _ip("-n", self.spaces[1], "link", "set", self.cables[1], state)

    def has_lane(self, where: int) -> bool:
        return any(ACTOR in " ".join(process.cmdline()) for process in self._living(where))

    def _living(self, where: int) -> list[psutil.Process]:
        found = subprocess.run(
            ["ip", "netns", "pids", self.spaces[where]], capture_output=True, text=True
        )
        return [psutil.Process(int(pid)) for pid in found.stdout.split()]

    def end(self) -> None:
        for where, space in enumerate(self.spaces):
            for process in self._living(where):
                with suppress(psutil.Error):
                    process.kill()
            subprocess.run(["ip", "netns", "del", space], check=False)
        for process in self.started:
            process.wait(30)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def two_nodes(folder: Path) -> Iterator[Network]:
    network = Network()
    try:
        network.build()
        network.start_nodes(folder)
        yield network
    finally:
        network.end()


def await_records(process: "subprocess.Popen[bytes]", run: Path, number: int, err: Path) -> None:
    deadline = time.monotonic() + LIMIT_S
    while count_lines(run / LEDGER_NAME) < number:
        assert process.poll() is None, err.read_text()[-3000:]
        assert time.monotonic() < deadline, err.read_text()[-3000:]
        time.sleep(0.1)


def write_search(folder: Path, backbone: Path) -> Path:
    """Write a search of one country in two lanes, each of which takes a whole node."""
    path = write_config(folder, backbone, num_trials=40)
    config = yaml.safe_load(path.read_text())
    config["countries"] = config["countries"][:1]
    config["lanes"] = {"num_lanes": 2, "cpus": 0.9}
    config["search"]["epochs"] = [20.0, 40.0]
    del config["country_lanes"]
    path.write_text(yaml.safe_dump(config))
    return path


@needs_root
@pytest.mark.slow
@pytest.mark.faults
def test_a_node_that_is_cut_off_costs_no_trial_and_repeats_none(
    tmp_path: Path, tiny_backbone: Path, tell: Callable[..., None]
) -> None:
    config, run, err = write_search(tmp_path, tiny_backbone), tmp_path / "run", tmp_path / "err"
    sweep = (str(BIN / "scpo"), "sweep", str(config), "--out")
    with two_nodes(tmp_path) as network:
        address = {"RAY_ADDRESS": f"{HEAD}:{PORT}", "OMP_NUM_THREADS": "1"}
        driver = network.start(0, *sweep, str(run), err=err, **address)
        await_records(driver, run, 6, err)
        assert network.has_lane(1)
        network.plug("down")
        cut = time.monotonic()
        await_records(driver, run, count_lines(run / LEDGER_NAME) + 3, err)
        went_on_s = time.monotonic() - cut
        assert driver.wait(LIMIT_S * 3) == 0, err.read_text()[-3000:]
        network.plug("up")
        quiet = network.start(0, *sweep, str(tmp_path / "quiet"), err=err, RAY_ADDRESS="local")
        assert quiet.wait(LIMIT_S * 3) == 0, err.read_text()[-3000:]
    assert result_of(run) == result_of(tmp_path / "quiet")
    tell(
        "a node cut off from the network",
        1,
        [],
        noticed_s=went_on_s,
        says="its trials are done by the other lane, none twice",
    )
