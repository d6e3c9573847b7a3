"""Whole sweeps whose folder is in a bucket: the node is lost, another one goes on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.cluster_utils import Cluster

from scpo.files.buckets import RemoteFolder
from scpo.models.loading import load_reward_model
from sweeps.ledger.records import LEDGER_NAME, read_records
from sweeps.run.mirror import Mirror
from tests.conftest import leave_ray

NODE: dict[str, Any] = {"object_store_memory": 80_000_000, "include_dashboard": False}


def write_config(folder: Path, backbone: Path, bucket: str, **changes: object) -> Path:
    config = {
        "name": "tiny",
        "countries": ["Arvandia"],
        "data": {
            "source": "synthetic",
            "synthetic": {
                "num_countries": 2,
                "users_per_country": 12,
                "interactions_per_user": 2,
            },
        },
        "global_model": {"backbone": str(backbone), "learning_rate": 1e-3, "max_pairs": 100},
        "encoder": {"max_tokens": 96},
        "training": {"pairs_per_step": 16, "learning_rate": 1e-3, "epochs": 0.5},
        "search": {"num_trials": 4, "folds": 1, "sampler": "random"},
        "curves": {"arms": [], "budgets": [1.0]},
        "final": {"arms": []},
        "cache": f"{bucket}/cache",
        **changes,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.exhaustive
def test_a_sweep_whose_node_is_lost_goes_on_from_the_bucket(
    bucket: str, tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, uri = write_config(tmp_path, tiny_backbone, bucket), f"{bucket}/runs/tiny"
    command = [sys.executable, "-m", "scpo", "sweep", str(config), "--out", uri, "--resume"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 180
    while len((RemoteFolder(uri) / "trials").names()) < 2:
        assert driver.poll() is None, "the sweep ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    shutil.rmtree(tmp_path / "home")
    before = (Mirror(uri).folder / LEDGER_NAME).read_bytes()
    monkeypatch.setenv("SCPO_HOME", str(tmp_path / "elsewhere"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "0 scored" in done.stdout  # the cache is in the bucket too
    assert RemoteFolder(uri).read(LEDGER_NAME).startswith(before)
    records = read_records(Mirror(uri).folder)
    assert len({record.trial_id for record in records}) == len(records) == 6
    assert {record.state for record in records} == {"complete"}
    assert load_reward_model(f"{uri}/models/arvandia").revision is None
    assert b"Arvandia" in RemoteFolder(uri).read("report.html")
    judged = [sys.executable, "-m", "scpo", "evaluate", "--run", uri, "--out", str(tmp_path / "j")]
    done = subprocess.run(judged, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert b"Arvandia" in RemoteFolder(uri).read("models/arvandia/README.md")


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[int], None]]:
    """A head without CPUs, and nodes that share no folder of SCPO_HOME with it."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    home = tmp_path / "home"
    home.mkdir()
    started: list[subprocess.Popen[bytes]] = []
    leave_ray()
    cluster = Cluster()

    def add(num_cpus: int) -> None:
        raylet = f"{sys.executable} -m ray.scripts.scripts start --block --num-cpus={num_cpus}"
        script = (
            f"mount -t tmpfs tmpfs {home} && mount -t tmpfs tmpfs {tmp_path}/runs && "
            f"exec {raylet} --address={cluster.address} --object-store-memory=80000000"
        )
        command = ["unshare", "--mount", "sh", "-c", script]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        started.append(process)
        deadline = time.monotonic() + 90
        while ray.cluster_resources().get("CPU", 0) < num_cpus * len(started):
            assert time.monotonic() < deadline
            time.sleep(0.2)

    try:
        cluster.add_node(num_cpus=0, **NODE)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        ray.init(address=cluster.address, log_to_driver=False)
        yield add
    finally:
        ray.shutdown()
        for process in started:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)
        cluster.shutdown()


def can_unshare() -> bool:
    """Whether this process may give another one a file system of its own."""
    script = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(script, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.exhaustive
@pytest.mark.skipif(not can_unshare(), reason="needs the right to mount")
def test_nodes_that_share_nothing_but_the_bucket_train_and_shard(
    bucket: str, tmp_path: Path, tiny_backbone: Path, strangers: Callable[[int], None]
) -> None:
    (tmp_path / "runs").mkdir()
    strangers(1)
    strangers(1)
    config = write_config(
        tmp_path,
        tiny_backbone,
        bucket,
        lanes={"cpus": 0.9},
        final={"arms": [], "lanes": {"workers": 2, "zero_stage": 3}},
    )
    uri = f"{bucket}/runs/tiny"
    command = [sys.executable, "-m", "scpo", "sweep", str(config), "--out", uri]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    records = read_records(Mirror(uri).folder)
    assert [r.error for r in records if r.error] == []
    assert records[-1].engine == "deepspeed-zero3-x2"
    load_reward_model(f"{uri}/models/arvandia")
