"""A sweep whose head is lost, the driver with it, goes on when it is submitted again.

On a new cluster that knows nothing; and on one that got its records back from Redis, as KubeRay
starts it, whose worker stayed. Redis is found on PATH, or the second test is skipped.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.cluster.jobs.heads import (
    Head,
    cluster_folder,
    end_group,
    free_port,
    kill_head,
    running_head,
)

# Ray refuses a second head where it sees another raylet of the same cluster.
ALONE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def write_sweep(
    file: Path, backbone: Path, cache: Path, num_trials: int, countries: Sequence[str]
) -> None:
    world = {"num_countries": 3, "users_per_country": 12, "interactions_per_user": 2}
    sweep = {
        "name": "lost",
        "countries": list(countries),
        "data": {"source": "synthetic", "synthetic": world},
        "global_model": {"backbone": str(backbone), "learning_rate": 1e-3, "max_pairs": 200},
        "encoder": {"max_tokens": 96},
        "training": {"pairs_per_step": 8, "learning_rate": 1e-3},
        "search": {
            "num_trials": num_trials,
            "folds": 1,
            "learning_rate": [1e-4, 1e-2],
            "epochs": [2.0, 4.0],
        },
        "curves": {"arms": ["full"] if len(countries) > 1 else [], "budgets": [0.5]},
        "final": {"arms": ["full"]},
        "cache": str(cache),
    }
    file.write_text(json.dumps(sweep))


class Project:
    """A folder with a sweep, where its run goes, and the command that submits it."""

    def __init__(
        self,
        folder: Path,
        backbone: Path,
        port: int,
        num_trials: int,
        countries: Sequence[str] = ("Arvandia", "Belmora"),
    ) -> None:
        self.folder, self.out = folder / "project", folder / "storage" / "lost"
        self.folder.mkdir()
        self.num_trials = num_trials
        self.countries = [country.lower() for country in countries]
        write_sweep(self.folder / "sweep.yaml", backbone, folder / "cache", num_trials, countries)
        self.command = [sys.executable, "-m", "scpo", "submit", "sweep.yaml"]
        self.command += ["--out", str(self.out), "--address", f"http://127.0.0.1:{port}"]

    @property
    def ledger(self) -> bytes:
        file = self.out / "trials.jsonl"
        return file.read_bytes() if file.exists() else b""

    def submit(self, head: Head, *options: str) -> str:
        environment = head.environment | {"RAY_AUTH_MODE": "token"}
        sent = subprocess.run(
            [*self.command, *options],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert sent.returncode == 0, sent.stdout[-3000:] + sent.stderr[-3000:]
        return sent.stdout

    def submit_and_lose(self, head: Head) -> bytes:
        """Submit, kill the head in mid-search, and return the whole lines of the ledger."""
        assert "lost: submitted" in self.submit(head, "--no-follow")
        deadline_s = time.monotonic() + 600
        while self.ledger.count(b"\n") < self.num_trials - 2:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        kill_head(head)
        return self.ledger[: self.ledger.rfind(b"\n") + 1]

    def check_nothing_is_repeated(self, kept: bytes) -> None:
        assert self.ledger.startswith(kept)
        trials = [json.loads(line)["trial_id"] for line in self.ledger.splitlines()]
        assert len(set(trials)) == len(trials)
        searched = [trial for trial in trials if re.fullmatch(r"[a-z]+-\d{4}", trial)]
        assert len(searched) == self.num_trials * len(self.countries)
        assert {f"{country}-final-scpo_tuned" for country in self.countries} < set(trials)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_trials", "countries"),
    [
        (4, ("Arvandia",)),
        pytest.param(8, ("Arvandia", "Belmora"), marks=pytest.mark.exhaustive),
    ],
)
def test_on_a_new_cluster(
    tiny_backbone: Path, tmp_path: Path, num_trials: int, countries: tuple[str, ...]
) -> None:
    port = free_port()
    project = Project(tmp_path, tiny_backbone, port, num_trials, countries)
    with cluster_folder() as folder:
        with running_head(folder, port) as head:
            kept = project.submit_and_lose(head)
        with running_head(folder, port) as head:
            said = project.submit(head)
    assert "lost: submitted" in said  # the new head knows nothing; the ledger knows all
    assert "lost: SUCCEEDED" in said
    project.check_nothing_is_repeated(kept)


@contextmanager
def running_redis(folder: Path) -> Iterator[int]:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--requirepass", "secret", "--appendonly", "yes"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield port
    finally:
        end_group(process)


@contextmanager
def running_worker(head: Head, folder: Path) -> Iterator[None]:
    command = [*ALONE, "ray", "start", f"--address=127.0.0.1:{head.port}", "--num-cpus=2"]
    command += ["--node-ip-address=127.0.0.1", "--block", "--object-store-memory=100000000"]
    command += [f"--dashboard-agent-listen-port={free_port()}", "--disable-usage-stats"]
    process = subprocess.Popen(
        command,
        env=head.environment
        | {"RAY_AUTH_MODE": "token", "RAY_gcs_rpc_server_reconnect_timeout_s": "600"},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        time.sleep(5)  # the sweep counts the CPUs once
        yield
        assert process.poll() is None, "the worker must outlive the head"
    finally:
        end_group(process)


def can_be_alone() -> bool:
    """Whether a process may be given processes of its own, and Redis is here."""
    tools = shutil.which("redis-server"), shutil.which("unshare")
    return all(tools) and subprocess.run([*ALONE, "true"], capture_output=True).returncode == 0


@pytest.mark.exhaustive
@pytest.mark.skipif(not can_be_alone(), reason="needs redis-server, and the right to unshare")
def test_on_a_cluster_that_kept_its_records_and_its_worker(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    port, control_port = free_port(), free_port()
    project = Project(tmp_path, tiny_backbone, port, num_trials=8)
    with cluster_folder() as folder, running_redis(tmp_path) as redis_port:
        variables = {
            "RAY_AUTH_MODE": "token",
            "RAY_REDIS_ADDRESS": f"127.0.0.1:{redis_port}",
            "RAY_external_storage_namespace": "lost",
        }

        def start() -> AbstractContextManager[Head]:
            return running_head(
                folder,
                port,
                options=("--num-cpus=0", "--redis-password=secret"),
                variables=variables,
                wrapper=ALONE,
                control_port=control_port,
            )

        with start() as head, running_worker(head, folder):
            kept = project.submit_and_lose(head)
            with start() as head:
                said = project.submit(head)
    assert "lost: resubmitted" in said  # Ray went on saying that the job ran
    assert "lost: SUCCEEDED" in said
    project.check_nothing_is_repeated(kept)
