"""The job that looks at a cluster, against one in memory."""

import json
import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from ray.job_submission import JobDetails, JobStatus, JobType

from cluster.access.connection import DOCTOR_JOB
from cluster.doctor import transport
from cluster.doctor.probes import FACT_PREFIX
from cluster.doctor.transport import Collected, run_as_job


def record(name: str, status: JobStatus, ended_s: float, metadata: dict[str, str]) -> JobDetails:
    return JobDetails(
        type=JobType.SUBMISSION,
        submission_id=name,
        status=status,
        entrypoint="",
        metadata=metadata,
        end_time=int(1000 * ended_s),
    )


def test_its_job_is_marked_and_those_of_earlier_calls_are_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mark, now = {DOCTOR_JOB: "1"}, time.time()
    jobs = [
        JobDetails(type=JobType.DRIVER, status=JobStatus.RUNNING, entrypoint=""),
        record("prism", JobStatus.SUCCEEDED, 1, {}),
        record("doctor-read", JobStatus.SUCCEEDED, now, mark),
        record("doctor-running", JobStatus.RUNNING, 0, mark),
        record("doctor-gone", JobStatus.FAILED, 1, mark),
        record("doctor-old", JobStatus.SUCCEEDED, 1, mark),
    ]
    sent: list[dict[str, Any]] = []
    deleted: list[str] = []

    def delete(name: str) -> None:
        deleted.append(name)
        if name == "doctor-gone":
            raise RuntimeError("no such job")

    client = SimpleNamespace(
        list_jobs=lambda: jobs,
        delete_job=delete,
        submit_job=lambda **request: sent.append(request),
        get_job_status=lambda name: JobStatus.RUNNING,
        get_job_logs=lambda name: f"{FACT_PREFIX}{json.dumps({'name': 'end', 'fact': True})}\n",
    )
    monkeypatch.setattr(transport, "connect", lambda address: nullcontext(client))
    collected = Collected()
    run_as_job({"address": "http://h:1", "token": "ab12"}, collected)
    assert collected.has_ended
    assert deleted == ["doctor-gone", "doctor-old"]
    assert [request["submission_id"] for request in sent] == ["doctor-ab12"]
    assert sent[0]["metadata"] == {DOCTOR_JOB: "ab12"}
