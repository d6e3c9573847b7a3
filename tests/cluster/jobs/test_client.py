"""Submitting, following, stopping and listing, against a cluster in memory."""

from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from ray.job_submission import JobDetails, JobStatus, JobType

import cluster.jobs.client
import cluster.jobs.logs
from cluster.access.connection import DOCTOR_JOB
from cluster.jobs.client import (
    FETCHED_RUN,
    describe_job,
    job_status,
    list_jobs,
    stop_job,
    submit_job,
)
from cluster.jobs.logs import follow_logs, job_log
from cluster.jobs.submission import Submission

SUBMISSION = Submission(
    "prism", ("python", "-c", "print('a b')"), Path("/work dir"), excludes=("/data",),
    metadata={"scpo_config": "prism.yaml", "scpo_config_sha256": "0" * 64},
)  # fmt: skip
COMMAND = """python -c 'print('"'"'a b'"'"')'"""


class FakeCluster:
    """Holds jobs; `next_statuses` are given out, one at each question for a status."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobDetails] = {}
        self.calls: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.next_statuses: list[JobStatus] = []
        self.logs: list[list[str | Exception]] = []
        self.refusals: list[str] = []
        self.lost: list[str] = []

    def add(self, name: str, status: JobStatus, **fields: Any) -> None:
        defaults = {"entrypoint": COMMAND, "metadata": dict(SUBMISSION.metadata)}
        self.jobs[name] = JobDetails(
            type=JobType.SUBMISSION, submission_id=name, status=status, **(defaults | fields)
        )

    def get_address(self) -> str:
        return "http://head:8265"

    def list_jobs(self) -> list[JobDetails]:
        driver = JobDetails(type=JobType.DRIVER, status=JobStatus.RUNNING, entrypoint="notebook")
        return [driver, *self.jobs.values()]

    def submit_job(self, **request: Any) -> str:
        self.calls.append("submit")
        if self.refusals:
            raise RuntimeError(self.refusals.pop(0))
        self.sent.append(request)
        return request["submission_id"]

    def delete_job(self, name: str) -> bool:
        self.calls.append(f"delete {name}")
        if self.jobs[name].status.is_terminal():
            del self.jobs[name]
            return True
        if name in self.lost:
            self.jobs[name].status = JobStatus.FAILED
        raise RuntimeError("it is in a non-terminal state")

    def stop_job(self, name: str) -> bool:
        self.calls.append(f"stop {name}")
        return True

    def get_job_status(self, name: str) -> JobStatus:
        return self.next_statuses.pop(0)

    def get_job_logs(self, name: str) -> str:
        return f"log of {name}\n"

    async def tail_job_logs(self, name: str) -> AsyncIterator[str]:
        self.calls.append(f"tail {name}")
        for item in self.logs.pop(0):
            if isinstance(item, Exception):
                raise item
            yield item


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    fake = FakeCluster()
    monkeypatch.setattr(cluster.jobs.client, "connect", lambda address: nullcontext(fake))
    for module in (cluster.jobs.client, cluster.jobs.logs):
        monkeypatch.setattr(module, "_POLL_INTERVAL_S", 0.0)
    monkeypatch.setattr(cluster.jobs.client, "_RESUBMIT_DELAY_S", 0.0)
    monkeypatch.setattr(cluster.jobs.client, "_LOST_TIMEOUT_S", 0.01)
    return fake


def test_new_job_is_sent_as_planned(ray: FakeCluster) -> None:
    assert submit_job(SUBMISSION, address=None) == "submitted"
    assert ray.calls == ["submit"]
    assert ray.sent == [
        {
            "entrypoint": COMMAND,
            "submission_id": "prism",
            "runtime_env": {
                "working_dir": "/work dir",
                "excludes": ["/data"],
                "env_vars": {},
            },
            "metadata": {"scpo_config": "prism.yaml", "scpo_config_sha256": "0" * 64},
        }
    ]


def test_a_cluster_that_has_no_agent_yet_is_asked_again(ray: FakeCluster) -> None:
    ray.refusals = ["status code 500: No available agent to submit job, please try again later.."]
    assert submit_job(SUBMISSION, address=None) == "submitted"
    assert ray.calls == ["submit", "submit"]


@pytest.mark.parametrize("patience_s", [60.0, -1.0])
def test_other_refusals_and_endless_ones_end(
    ray: FakeCluster, monkeypatch: pytest.MonkeyPatch, patience_s: float
) -> None:
    monkeypatch.setattr(cluster.jobs.client, "_AGENT_TIMEOUT_S", patience_s)
    ray.refusals = ["No available agent" if patience_s < 0 else "status code 500: broken"]
    with pytest.raises(RuntimeError, match=r"job agent of the head.*52365|broken"):
        submit_job(SUBMISSION, address=None)
    assert ray.calls == ["submit"]


def test_variables_are_sent_with_their_values(
    ray: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", "/mnt/hf")
    submit_job(Submission("a", ("true",), Path("/x"), env_names=("HF_HOME",)), address=None)
    assert ray.sent[0]["runtime_env"]["env_vars"] == {"HF_HOME": "/mnt/hf"}


def test_unset_variable_is_refused(ray: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HOME", raising=False)
    with pytest.raises(ValueError, match=r"HF_HOME is to be sent, but is not set\. Set it"):
        submit_job(Submission("a", ("true",), Path("/x"), env_names=("HF_HOME",)), address=None)
    assert ray.calls == []


@pytest.mark.parametrize("status", [JobStatus.PENDING, JobStatus.RUNNING, JobStatus.SUCCEEDED])
def test_live_or_finished_job_is_attached_to(ray: FakeCluster, status: JobStatus) -> None:
    ray.add("prism", status)
    assert submit_job(SUBMISSION, address=None) == "attached"
    assert ray.sent == []
    assert ray.jobs["prism"].status is status


def test_a_job_lost_with_its_head_is_replaced(ray: FakeCluster) -> None:
    ray.add("prism", JobStatus.RUNNING)
    ray.lost = ["prism"]
    assert submit_job(SUBMISSION, address=None) == "resubmitted"
    assert ray.calls == ["delete prism", "delete prism", "submit"]


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.STOPPED])
def test_failed_or_stopped_job_is_replaced(ray: FakeCluster, status: JobStatus) -> None:
    ray.add("prism", status, entrypoint="another command")
    assert submit_job(SUBMISSION, address=None) == "resubmitted"
    assert ray.calls == ["delete prism", "submit"]


@pytest.mark.parametrize(
    "fields", [{"entrypoint": "sleep 1"}, {"metadata": {"scpo_config": "b.yaml"}}]
)
def test_other_job_of_the_same_name_is_refused(ray: FakeCluster, fields: dict[str, Any]) -> None:
    ray.add("prism", JobStatus.RUNNING, **fields)
    with pytest.raises(ValueError, match=r"job prism is RUNNING with.*Give another run name"):
        submit_job(SUBMISSION, address=None)
    assert ray.calls == []


def test_a_finished_job_says_how_its_run_goes_on(ray: FakeCluster) -> None:
    ray.add("prism", JobStatus.SUCCEEDED, metadata={"scpo_out": "/mnt/runs/prism"})
    with pytest.raises(ValueError, match=r"another --name: with --out /mnt/runs/prism it goes on"):
        submit_job(SUBMISSION, address=None)
    assert submit_job(replace(SUBMISSION, submission_id="prism-2"), address=None) == "submitted"
    ray.add("prism", JobStatus.SUCCEEDED, metadata={})
    with pytest.raises(ValueError, match=r"differ from .*\. Give another run name\.$"):
        submit_job(SUBMISSION, address=None)


def test_log_of_a_running_job_is_followed(
    ray: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    ray.add("prism", JobStatus.PENDING)
    ray.logs = [["one\n", "two\n"]]
    ray.next_statuses = [JobStatus.SUCCEEDED]
    assert follow_logs(None, "prism") is JobStatus.SUCCEEDED
    assert capsys.readouterr().out == "one\ntwo\n"


@pytest.mark.parametrize(
    "error", [RuntimeError("WebSocket closed"), aiohttp.ClientError("WebSocket closed")]
)
def test_broken_log_is_taken_up_where_it_stood(
    ray: FakeCluster, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    ray.add("prism", JobStatus.RUNNING)
    # The second time the log comes in other pieces, one of them across the break.
    ray.logs = [["one\n", error], ["on", "e\ntw", error], ["one\ntwo\nthree\n"]]
    ray.next_statuses = [JobStatus.RUNNING, JobStatus.FAILED, JobStatus.FAILED]
    assert follow_logs(None, "prism") is JobStatus.FAILED
    assert capsys.readouterr().out == "one\ntwo\nthree\n"


def test_log_that_never_comes_does_not_hold_an_ended_job(ray: FakeCluster) -> None:
    ray.add("prism", JobStatus.RUNNING)
    ray.logs = [[RuntimeError("no sockets here")]] * 2
    ray.next_statuses = [JobStatus.SUCCEEDED, JobStatus.SUCCEEDED]
    assert follow_logs(None, "prism") is JobStatus.SUCCEEDED


def test_log_of_an_ended_job_is_printed_once(
    ray: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    ray.add("prism", JobStatus.STOPPED)
    ray.logs = [["one\n"]]
    ray.next_statuses = [JobStatus.STOPPED]
    assert follow_logs(None, "prism") is JobStatus.STOPPED
    assert capsys.readouterr().out == "one\n"
    assert ray.calls == ["tail prism"]


def test_running_job_is_stopped_and_waited_for(ray: FakeCluster) -> None:
    ray.add("prism", JobStatus.RUNNING)
    ray.next_statuses = [JobStatus.RUNNING, JobStatus.STOPPED]
    assert stop_job(None, "prism") is JobStatus.STOPPED
    assert ray.calls == ["stop prism"]


def test_ended_job_is_not_stopped(ray: FakeCluster) -> None:
    ray.add("prism", JobStatus.SUCCEEDED)
    assert stop_job(None, "prism") is JobStatus.SUCCEEDED
    assert ray.calls == []


def test_job_that_does_not_end_is_reported(
    ray: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster.jobs.client, "_STOP_TIMEOUT_S", -1.0)
    ray.add("prism", JobStatus.RUNNING)
    with pytest.raises(RuntimeError, match=r"prism must end within.*still RUNNING.*later with"):
        stop_job(None, "prism")


@pytest.mark.parametrize("function", [follow_logs, job_log, job_status, stop_job])
def test_unknown_job_is_refused(ray: FakeCluster, function: Any) -> None:
    with pytest.raises(ValueError, match=r"http://head:8265 has no job 'prism'.*scpo jobs"):
        function(None, "prism")


def test_list_is_newest_first_and_leaves_drivers_out(ray: FakeCluster) -> None:
    ray.add("old", JobStatus.SUCCEEDED, start_time=1000)
    ray.add("pending", JobStatus.PENDING, start_time=0)
    ray.add("new", JobStatus.RUNNING, start_time=2000, end_time=0)
    assert [job.submission_id for job in list_jobs(None)] == ["new", "old", "pending"]


def test_job_in_a_line(ray: FakeCluster) -> None:
    ray.add("a", JobStatus.SUCCEEDED, start_time=60_000, end_time=65_400)
    assert describe_job(job_status(None, "a")) == "a  SUCCEEDED  1970-01-01 00:01 UTC  5 s"
    ray.add("b", JobStatus.RUNNING, start_time=60_000, end_time=0)
    assert int(describe_job(job_status(None, "b")).split()[-2]) > 10**9
    for not_yet in (None, 0):
        ray.add("c", JobStatus.PENDING, start_time=not_yet)
        assert describe_job(job_status(None, "c")) == "c  PENDING"


def test_log_as_it_is_now(ray: FakeCluster) -> None:
    ray.add("prism", JobStatus.RUNNING)
    assert job_log(None, "prism") == "log of prism\n"


def test_list_leaves_out_what_only_fetches_or_looks(ray: FakeCluster) -> None:
    ray.add("prism", JobStatus.RUNNING)
    ray.add("doctor-1", JobStatus.SUCCEEDED, metadata={DOCTOR_JOB: "1"})
    ray.add("prism-fetch-1", JobStatus.SUCCEEDED, metadata={FETCHED_RUN: "prism"})
    assert [record.submission_id for record in list_jobs(None)] == ["prism"]
