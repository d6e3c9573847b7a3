"""The whole way through a real cluster, started as the profile `local` says, on other ports."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from tests.cluster.jobs.heads import Head, cluster_folder, free_port, running_head

SCENARIO = """
import json, sys, time
from pathlib import Path
from ray.job_submission import JobStatus
from cluster.jobs.client import job_status, list_jobs, stop_job, submit_job
from cluster.jobs.logs import follow_logs
from cluster.jobs.submission import Submission

address, folder = sys.argv[1], Path(sys.argv[2])
program = "import os; print('hello', sorted(os.listdir('.')), os.listdir('scpo/data'))"
hello = Submission("hello", ("python", "-c", program), folder, metadata={"scpo_config": "a"})
seen = {"first": submit_job(hello, address=address)}
submit_job(Submission("sleeper", ("sleep", "600"), folder), address=address)
seen["hello"] = follow_logs(address, "hello")
seen["again"] = submit_job(hello, address=address)

while job_status(address, "sleeper").status is JobStatus.PENDING:
    time.sleep(0.2)
seen["stopped"] = stop_job(address, "sleeper")
awake = Submission("sleeper", ("python", "-c", "print('awake')"), folder)
seen["resubmitted"] = submit_job(awake, address=address)
seen["awake"] = follow_logs(address, "sleeper")
seen["jobs"] = [job.submission_id for job in list_jobs(address)]
print("SEEN", json.dumps(seen))
"""

REFUSAL = """
import sys
from cluster.jobs.client import list_jobs
try:
    list_jobs(sys.argv[1])
except RuntimeError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with cluster_folder() as folder, running_head(folder, free_port()) as head:
        yield head


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
            command,
            cwd=tmp_path,
            env=head.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    sent = scpo("submit", "sweep.yaml", "--name", "commanded")
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
    files = {file for file in (tmp_path / "here").rglob("[!.]*") if file.is_file()}
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
