"""The commands from a machine without torch and DeepSpeed, and without a cluster that answers."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BLOCKED = """
import sys
for name in ("torch", "deepspeed", "transformers", "datasets", "optuna"):
    sys.modules[name] = None  # importing it fails
from scpo.__main__ import main
codes = set()
for command in " ".join(sys.argv[1:]).split(" THEN "):
    sys.argv = ["scpo", *command.split()]
    try:
        main()
    except SystemExit as ended:
        codes.add(ended.code)
[code] = codes  # the same for all
sys.exit(code)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def laptop(tmp_path: Path) -> Path:
    """A folder with a configuration, data that stays, and a profile whose cluster is down."""
    for name in ("sweep.yaml", "package/data/kept.py", "data/users.csv", "runs/a", "a/.git/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "pins.txt").write_text("# for the job\nmoocore==0.3.2\n")
    scpo = {
        "address": f"http://127.0.0.1:{free_port()}",
        "storage": "/mnt/scpo/runs",
        "start": "ray up mine.yaml",
        "tunnel": "ray dashboard mine.yaml",
        "end": "ray down mine.yaml",
        "env_names": ["HF_HOME"],
        "entrypoint_num_cpus": 1,
        "requirements": "pins.txt",
    }
    (tmp_path / "mine.yaml").write_text(json.dumps({"metadata": {"scpo": scpo}}))
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.touch(mode=0o600)
    token.write_text("a-secret-token")
    return tmp_path


def run_scpo(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {n: v for n, v in os.environ.items() if not n.startswith("RAY_")}
    environment |= {"HOME": str(folder), "PYTHONPATH": str(ROOT), "no_proxy": "127.0.0.1"}
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, *arguments],
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_dry_run_shows_what_would_be_sent_and_no_value(laptop: Path) -> None:
    done = run_scpo(
        laptop,
        *("submit", "sweep.yaml", "--profile", "mine.yaml", "--name", "first", "--dry-run"),
        HF_HOME="/a/private/place",
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    request = shown["request"]
    out = "/mnt/scpo/runs/first"
    command = "python -m scpo sweep sweep.yaml"
    assert request["entrypoint"].startswith(f"{command} --out {out} --resume")
    assert request["submission_id"] == "first"
    assert request["entrypoint_num_cpus"] == 1
    assert request["metadata"]["scpo_out"] == out
    assert request["runtime_env"]["working_dir"] == str(laptop)
    assert request["runtime_env"]["env_vars"] == {"HF_HOME": "the value of HF_HOME here"}
    assert request["runtime_env"]["pip"] == {"packages": ["moocore==0.3.2"], "pip_check": False}
    files = ["mine.yaml", "package/data/kept.py", "pins.txt", "sweep.yaml"]  # and no token
    assert shown["package"]["files"] == files
    assert shown["package"]["packed_bytes"] > 0
    assert "private" not in done.stdout


@pytest.mark.slow
def test_cluster_that_is_down_is_told_with_its_remedy(laptop: Path) -> None:
    commands = ["submit sweep.yaml", "jobs", "status first", "logs first -f", "stop first"]
    commands.append("fetch first")
    given = " THEN ".join(f"{command} --profile mine.yaml" for command in commands)
    done = run_scpo(laptop, *given.split(), HF_HOME="/x")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 6
    for line in lines:
        assert line.startswith("scpo: A Ray dashboard must answer at http://127.0.0.1:")
        assert "Start the cluster with: ray up mine.yaml" in line
        assert "Reach the dashboard with: ray dashboard mine.yaml" in line


def test_no_token_is_told_before_anything_is_asked(laptop: Path) -> None:
    (laptop / ".ray" / "auth_token").unlink()
    done = run_scpo(laptop, "jobs", "--profile", "mine.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("scpo: The cluster needs a token")


@pytest.mark.slow
def test_silent_address_is_given_up_in_time(laptop: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = run_scpo(laptop, "jobs", "--profile", "mine.yaml", "--address", address)
    assert done.returncode == 2
    assert "within 5 s" in done.stderr


def test_a_configuration_is_read_without_torch(laptop: Path) -> None:
    """A cluster that is down is found before anything is measured."""
    config = ROOT / "sweeps" / "configs" / "demo.yaml"
    (laptop / "sweep.yaml").write_text(config.read_text())
    done = run_scpo(laptop, "sweep", "sweep.yaml", "--out", "x", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "name: demo" in done.stdout
    address = f"http://127.0.0.1:{free_port()}"
    done = run_scpo(laptop, "doctor", "sweep.yaml", "--address", address, "--out", "/mnt/x")
    assert done.returncode == 1, done.stderr
    assert f"A Ray dashboard must answer at {address}" in done.stdout
