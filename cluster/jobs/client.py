"""Submits, lists and stops jobs of a running Ray cluster through its Jobs API.

In: a `Submission` and the address of a dashboard (see `cluster.access.connection`). Out: Ray's
record of the job. Ray never retries a job. `submit_job` may be called again at any time: it
replaces a job that failed, was stopped or was lost.

All functions raise RuntimeError when the cluster cannot be reached or refuses the token, and
ValueError when they need a job that does not exist.
"""

import logging
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Literal

from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from cluster.access.connection import DOCTOR_JOB, connect
from cluster.jobs.submission import Submission, read_environment

FETCHED_RUN = "scpo_fetches"  # metadata of a job that packs the outputs of a run
_POLL_INTERVAL_S = 0.5
_AGENT_TIMEOUT_S = 60.0
_NO_AGENT = "No available agent"  # in Ray's message when the agent has not started yet
# Ray sends SIGTERM and kills 3 s later (RAY_JOB_STOP_WAIT_TIME_S).
_STOP_TIMEOUT_S = 30.0
# Ray watches an ended job for a little over a second. If the record is replaced within that time,
# Ray marks the new job FAILED because the old job's actor died.
_RESUBMIT_DELAY_S = 5.0
_LOST_TIMEOUT_S = 3.0  # Ray checks a job every second once it has been asked about it

SubmitOutcome = Literal["submitted", "resubmitted", "attached"]


def describe_job(job: JobDetails) -> str:
    """Return one line about a job: name, status, start in UTC, seconds it has run."""
    line = f"{job.submission_id}  {job.status}"
    if not job.start_time:  # Ray writes None or 0 for "not yet"
        return line
    started = datetime.fromtimestamp(job.start_time / 1000, UTC)
    ended = datetime.fromtimestamp(job.end_time / 1000, UTC) if job.end_time else datetime.now(UTC)
    return f"{line}  {started:%Y-%m-%d %H:%M UTC}  {(ended - started).total_seconds():.0f} s"


def submit_job(submission: Submission, *, address: str | None) -> SubmitOutcome:
    """Submit a job, unless a job of this name is there and has not failed.

    Returns:
        "attached": a job of this name is pending, running or has succeeded; nothing was sent.
        "resubmitted": the job had failed, was stopped or was lost with its head node; its record
        was replaced, after 5 s. The log on the cluster, if still there, is appended to.
        "submitted": the name was new.

    Raises:
        ValueError: A variable of `env_names` is not set, or a job of this name that has not
            failed runs another command or configuration.
    """
    environment = read_environment(submission.env_names)
    name = submission.submission_id
    with connect(address) as client:
        existing = _find_job(client, name)
        if existing is not None and existing.status not in (JobStatus.FAILED, JobStatus.STOPPED):
            _check_same(submission, existing)
            if existing.status is JobStatus.SUCCEEDED or not _is_lost(client, name):
                return "attached"
        if existing is not None:
            time.sleep(_RESUBMIT_DELAY_S)
            if _find_job(client, name) is not None:
                client.delete_job(name)
        _send(client, submission, environment)
    return "submitted" if existing is None else "resubmitted"


@contextmanager
def connect_to_job(
    address: str | None, submission_id: str
) -> Iterator[tuple[JobSubmissionClient, JobDetails]]:
    """Give Ray's client and Ray's record of one job."""
    with connect(address) as client:
        job = _find_job(client, submission_id)
        if job is None:
            raise ValueError(
                f"The cluster at {client.get_address()} has no job {submission_id!r}. List its "
                "jobs with `scpo jobs`."
            )
        yield client, job


def job_status(address: str | None, submission_id: str) -> JobDetails:
    """Return Ray's record of one job."""
    with connect_to_job(address, submission_id) as (_, job):
        return job


def list_jobs(address: str | None) -> list[JobDetails]:
    """Return the submitted jobs of a cluster, newest first, without those that fetch or look."""
    with connect(address) as client:
        jobs = [job for job in client.list_jobs() if job.submission_id is not None]
    jobs = [job for job in jobs if not {FETCHED_RUN, DOCTOR_JOB} & (job.metadata or {}).keys()]
    return sorted(jobs, key=lambda job: (-(job.start_time or 0), job.submission_id))


def stop_job(address: str | None, submission_id: str) -> JobStatus:
    """Stop a job, and return its status once it has ended, perhaps by itself.

    Raises:
        RuntimeError: The job has not ended within 30 s.
    """
    with connect_to_job(address, submission_id) as (client, job):
        status = job.status
        if not status.is_terminal():
            client.stop_job(submission_id)
        deadline_s = time.monotonic() + _STOP_TIMEOUT_S
        while not status.is_terminal():
            if time.monotonic() > deadline_s:
                raise RuntimeError(
                    f"The job {submission_id} must end within {_STOP_TIMEOUT_S:.0f} s, but it is "
                    f"still {status}. Check it later with `scpo status`."
                )
            time.sleep(_POLL_INTERVAL_S)
            status = client.get_job_status(submission_id)
    return status


def _is_lost(client: JobSubmissionClient, submission_id: str) -> bool:
    """Return whether a job that Ray calls running was lost with the head node that ran it.

    A restarted head restores the records of its jobs, but checks whether a job is alive only once
    it is asked to change the job. So ask Ray to delete it, which Ray refuses for a running job.
    """
    with suppress(RuntimeError):
        client.delete_job(submission_id)
    deadline_s = time.monotonic() + _LOST_TIMEOUT_S
    while time.monotonic() < deadline_s:
        time.sleep(_POLL_INTERVAL_S)
        now = _find_job(client, submission_id)
        if now is None or now.status.is_terminal():
            return now is None or now.status is not JobStatus.SUCCEEDED
    return False


def _send(
    client: JobSubmissionClient, submission: Submission, environment: dict[str, str]
) -> None:
    """Submit a job; a cluster that has just started may not have its job agent yet."""
    # Ray warns about each .gitignore and about excluded folders.
    logging.getLogger("ray").setLevel(logging.ERROR)
    deadline_s = time.monotonic() + _AGENT_TIMEOUT_S
    while True:
        try:
            client.submit_job(**submission.request(environment))
        except RuntimeError as error:
            if _NO_AGENT not in str(error):
                raise
            if time.monotonic() > deadline_s:
                raise RuntimeError(
                    f"The job agent of the head has not started within {_AGENT_TIMEOUT_S:.0f} s. "
                    "Read dashboard_agent.log of the head: another process may hold its port "
                    "(52365, or --dashboard-agent-listen-port)."
                ) from error
            time.sleep(_POLL_INTERVAL_S)
        else:
            return


def _find_job(client: JobSubmissionClient, submission_id: str) -> JobDetails | None:
    return next((job for job in client.list_jobs() if job.submission_id == submission_id), None)


def _check_same(submission: Submission, existing: JobDetails) -> None:
    """Raise ValueError when the cluster's job runs another command or configuration."""
    command = shlex.join(submission.entrypoint)
    if existing.entrypoint != command or existing.metadata != submission.metadata:
        name, out = submission.submission_id, (existing.metadata or {}).get("scpo_out")
        advice = "Give another run name, or stop that job first."
        if existing.status is JobStatus.SUCCEEDED:
            advice = "Give another run name."
            if out:
                advice = f"Give another --name: with --out {out} it goes on with that run."
        raise ValueError(
            f"A run name must stand for one command and configuration, but job {name} is "
            f"{existing.status} with `{existing.entrypoint}` and {existing.metadata}, which "
            f"differ from `{command}` and {submission.metadata}. {advice}"
        )
