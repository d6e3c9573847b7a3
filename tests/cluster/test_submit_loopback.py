"""The whole way through a real cluster, started as the profile `local` says, on ports of its own.

The cluster and each client are processes of their own: Ray keeps the token and its mode for as
long as a process lives. The cluster is ended by its process group, never by `ray stop`, which
would end every other cluster on the machine.
"""

import json
import os
import re
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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from cluster.profile import load_profile

ROOT = Path(__file__).parents[2]

SCENARIO = """
import json, sys, time
from pathlib import Path
from ray.job_submission import JobStatus
from cluster.jobs import job_status, list_jobs, stop_job, submit
from cluster.logs import follow_logs
from cluster.submission import Submission

address, folder = sys.argv[1], Path(sys.argv[2])
program = "import os; print('hello', sorted(os.listdir('.')), os.listdir('scpo/data'))"
hello = Submission("hello", ("python", "-c", program), folder, metadata={"scpo_config": "a"})
seen = {"first": submit(hello, address=address)}
submit(Submission("sleeper", ("sleep", "600"), folder), address=address)
seen["hello"] = follow_logs(address, "hello")
seen["again"] = submit(hello, address=address)

while job_status(address, "sleeper").status is JobStatus.PENDING:
    time.sleep(0.2)
seen["stopped"] = stop_job(address, "sleeper")
awake = Submission("sleeper", ("python", "-c", "print('awake')"), folder)
seen["resubmitted"] = submit(awake, address=address)
seen["awake"] = follow_logs(address, "sleeper")
seen["jobs"] = [job.submission_id for job in list_jobs(address)]
print("SEEN", json.dumps(seen))
"""

REFUSAL = """
import sys
from cluster.jobs import list_jobs
try:
    list_jobs(sys.argv[1])
except RuntimeError as error:
    print(error)
"""


@dataclass(frozen=True)
class Head:
    address: str
    environment: dict[str, str]
    group: int


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for_dashboard(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + 40
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/api/version", timeout=2).close()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 401:
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"no locked dashboard at {address}:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Short: Ray's sockets below it must keep to the 107 bytes of a socket's path.
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="sj"))
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def head(folder: Path) -> Iterator[Head]:
    with running_head(folder, free_port()) as head:
        yield head


@contextmanager
def running_head(folder: Path, port: int) -> Iterator[Head]:
    environment = {name: v for name, v in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        "HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "no_proxy": "127.0.0.1",
    }
    words = shlex.split(load_profile("local").start)
    settings = [word.split("=") for word in words[: words.index("ray")]]
    moved = {"--port": free_port(), "--dashboard-port": port}
    command = [
        *(f"{name}={moved[name]}" if (name := word.partition("=")[0]) in moved else word
          for word in words[words.index("ray") :]),
        *("--block", "--num-cpus=1", f"--temp-dir={folder}/ray"),
        "--object-store-memory=100000000",
        f"--ray-client-server-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}",
    ]  # fmt: skip
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment | dict(settings),
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_for_dashboard(f"http://127.0.0.1:{port}", process, log)
        yield Head(f"http://127.0.0.1:{port}", environment, process.pid)
    finally:
        end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_client(program: str, *arguments: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_submit_follow_attach_stop_and_resubmit(head: Head, tmp_path: Path) -> None:
    for name in ("data/users.csv", "runs/a.jsonl", "scpo/data/pairs.py", "sweep.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    printed = run_client(
        SCENARIO,
        head.address,
        str(tmp_path),
        environment=head.environment | {"RAY_AUTH_MODE": "token"},
    )
    log, _, seen = printed.partition("SEEN ")
    assert json.loads(seen) == {
        "first": "submitted",
        "hello": "SUCCEEDED",
        "again": "attached",
        "stopped": "STOPPED",
        "resubmitted": "resubmitted",
        "awake": "SUCCEEDED",
        "jobs": ["sleeper", "hello"],
    }
    # Once: the second submission ran nothing. Data and runs stayed here, the package travelled.
    assert log.count("\nhello ") == 1
    assert "hello ['scpo', 'sweep.yaml'] ['pairs.py']\n" in log
    assert log.endswith("\nawake\n")


@pytest.mark.slow
def test_commands_submit_follow_tell_fetch_and_stop(head: Head, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("name: x\n")  # refused by the sweep, not by the cluster
    out = tmp_path / "storage" / "commanded"
    for name in ("trials.jsonl", "models/france.bin", "curves/models.csv"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(name)
    settings = {"address": head.address, "storage": str(out.parent), "start": "s", "end": "e"}
    profile = tmp_path / "here.yaml"
    profile.write_text(json.dumps({"metadata": {"scpo": settings}}))

    def scpo(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "scpo", *arguments, "--profile", str(profile)]
        return subprocess.run(
            command, cwd=tmp_path, env=head.environment, capture_output=True, text=True, timeout=60
        )

    begun_s = time.monotonic()
    sent = scpo("submit", "sweep.yaml", "--name", "commanded")
    print(f"submitted, run and followed to its end in {time.monotonic() - begun_s:.1f} s")
    assert sent.returncode == 1, sent.stderr
    assert "commanded: submitted" in sent.stdout
    assert "countries: Field required" in sent.stdout  # the job's own log, followed
    assert "commanded: FAILED" in sent.stdout
    assert scpo("status", "commanded").stdout.startswith("commanded  FAILED")
    assert "commanded  FAILED" in scpo("jobs").stdout
    assert "countries: Field required" in scpo("logs", "commanded").stdout
    assert scpo("stop", "commanded").stdout.strip() == "commanded: FAILED"
    unknown = scpo("stop", "nobody")
    assert unknown.returncode == 2
    assert "nobody" in unknown.stderr
    fetched = scpo("fetch", "commanded", "--to", "here")
    assert fetched.stdout == f"2 files of {out}: here\n", fetched.stderr
    files = {file for file in (tmp_path / "here").rglob("*") if file.is_file()}
    assert {str(file.relative_to(tmp_path / "here")): file.read_text() for file in files} == {
        name: name for name in ("trials.jsonl", "curves/models.csv")
    }
    assert "fetch" not in scpo("jobs").stdout


@pytest.mark.slow
def test_no_token_401_wrong_403_right_200(head: Head) -> None:
    def answer(token: str | None) -> int:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"{head.address}/api/jobs/", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return response.status
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    right = Path(head.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    assert [answer(None), answer("0" * 64), answer(right)] == [401, 403, 200]


@pytest.mark.slow
def test_missing_and_wrong_token_are_explained(head: Head) -> None:
    without = {n: v for n, v in head.environment.items() if not n.startswith("RAY_AUTH")}
    remedy = "Set RAY_AUTH_MODE=token, and put the cluster's token into ~/.ray/auth_token"
    for environment, reason in (
        (without, "Missing authentication token"),
        (without | {"RAY_AUTH_MODE": "token"}, "couldn't find an authentication token"),
        (without | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, "Invalid"),
    ):
        printed = run_client(REFUSAL, head.address, environment=environment)
        assert reason in printed
        assert remedy in printed


@pytest.mark.slow
def test_every_port_of_the_local_profile_is_on_loopback(head: Head) -> None:
    processes = psutil.Process(head.group).children(recursive=True)
    listening = {
        connection.laddr
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert len(listening) >= 6  # control plane, raylet, object manager, dashboard, agents
    assert head.address.rpartition(":")[2] in {str(port) for _, port in listening}
    for ip, _ in listening:
        address = ip_address(ip)
        assert (getattr(address, "ipv4_mapped", None) or address).is_loopback, listening


@pytest.mark.slow
def test_the_token_is_in_no_log_and_no_record(head: Head) -> None:
    token = Path(head.environment["RAY_AUTH_TOKEN_PATH"])
    assert token.stat().st_mode & 0o777 == 0o600
    logs = [file for file in (token.parent / "ray").rglob("*") if file.is_file()]
    assert any(file.name.startswith("job-driver-") for file in logs)
    leaks = [file for file in logs if token.read_bytes() in file.read_bytes()]
    assert leaks == []


def write_sweep(file: Path, backbone: Path, cache: Path) -> None:
    world = {"num_countries": 3, "users_per_country": 12, "interactions_per_user": 2}
    sweep = {
        "name": "lost",
        "countries": ["Arvandia", "Belmora"],
        "data": {"source": "synthetic", "synthetic": world},
        "global_model": {"backbone": str(backbone), "learning_rate": 1e-3, "max_pairs": 200},
        "encoder": {"max_tokens": 96},
        "training": {"pairs_per_step": 8, "learning_rate": 1e-3},
        "search": {"num_trials": 8, "learning_rate": [1e-4, 1e-2], "epochs": [2.0, 4.0]},
        "curves": {"arms": ["full"], "budgets": [0.5]},
        "final": {"arms": ["full"]},
        "cache": str(cache),
    }
    file.write_text(json.dumps(sweep))


def kill_head(head: Head) -> None:
    """End a head and all that it started, the driver of its job too, as the loss of a machine."""
    processes = [psutil.Process(head.group)]
    processes += processes[0].children(recursive=True)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert psutil.wait_procs(processes, timeout=15)[1] == []


@pytest.mark.exhaustive
def test_a_sweep_whose_head_is_lost_goes_on_when_it_is_submitted_again(
    folder: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "storage" / "lost"
    ledger = out / "trials.jsonl"
    project = tmp_path / "project"
    project.mkdir()
    write_sweep(project / "sweep.yaml", tiny_backbone, tmp_path / "cache")
    port = free_port()
    command = [sys.executable, "-m", "scpo", "submit", "sweep.yaml", "--out", str(out)]
    command += ["--address", f"http://127.0.0.1:{port}"]

    def submit(head: Head, *options: str) -> str:
        environment = head.environment | {"RAY_AUTH_MODE": "token"}
        sent = subprocess.run(
            [*command, *options], cwd=project, env=environment, capture_output=True, text=True
        )
        assert sent.returncode == 0, sent.stdout[-3000:] + sent.stderr[-3000:]
        return sent.stdout

    with running_head(folder, port) as head:
        assert "lost: submitted" in submit(head, "--no-follow")
        deadline_s = time.monotonic() + 200
        while not ledger.exists() or ledger.read_bytes().count(b"\n") < 6:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        kill_head(head)
    kept = ledger.read_bytes()
    kept = kept[: kept.rfind(b"\n") + 1]
    with running_head(folder, port) as head:
        said = submit(head)
    assert "lost: submitted" in said  # the new head knows nothing; the ledger knows all
    assert "lost: SUCCEEDED" in said
    assert ledger.read_bytes().startswith(kept)
    trials = [json.loads(line)["trial_id"] for line in ledger.read_text().splitlines()]
    assert len(set(trials)) == len(trials)
    searched = [trial for trial in trials if re.fullmatch(r"(arvandia|belmora)-\d{4}", trial)]
    assert len(searched) == 16
    assert {f"{c}-final-scpo_tuned" for c in ("arvandia", "belmora")} < set(trials)
