"""Sends jobs to a running Ray cluster through its Jobs API, lists and stops them.

In: a `Submission` and the address of a dashboard, http://host:8265. Out: what became of the job.
Ray never retries a job; `submit` may be called again at any time and does what is missing.
"""

import logging
import os
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from cluster.access.connection import connect, explained_errors
from cluster.jobs.submission import Submission

POLL_INTERVAL_S = 0.5
AGENT_TIMEOUT_S = 60.0
FETCHES = "scpo_fetches"  # metadata of a job that packs the outputs of the run it names
NO_AGENT = "No available agent"  # Ray's words; it asks to be tried again
# Ray asks with SIGTERM and kills 3 s later (RAY_JOB_STOP_WAIT_TIME_S).
STOP_TIMEOUT_S = 30.0
# Ray watches an ended job once a second for a little longer. Whoever replaces the record within
# that time finds the new job marked FAILED because the old one's actor died.
RESUBMIT_DELAY_S = 5.0
LOST_TIMEOUT_S = 3.0  # Ray looks at a job it was made to look after within 1 s, and again each 1 s

SubmitOutcome = Literal["submitted", "resubmitted", "attached"]


@dataclass(frozen=True)
class JobRecord:
    """What the cluster knows of one submitted job.

    Attributes:
        submission_id: Name of the job; equal to the run name.
        status: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
        message: Ray's remark on the status; after a failure it holds the last lines of the log.
        entrypoint: The shell command.
        metadata: What was kept with the job when it was sent.
        started_at: Time in UTC, or None when it has not started.
        ended_at: Time in UTC, or None when it has not ended.
    """

    submission_id: str
    status: JobStatus
    message: str
    entrypoint: str
    metadata: dict[str, str]
    started_at: datetime | None
    ended_at: datetime | None


def describe_job(job: JobRecord) -> str:
    """Return a line on a job: name, status, start in UTC, and how long it has run."""
    if job.started_at is None:
        return f"{job.submission_id}  {job.status}"
    lasted = (job.ended_at or datetime.now(UTC)) - job.started_at
    started = job.started_at.strftime("%Y-%m-%d %H:%M UTC")
    return f"{job.submission_id}  {job.status}  {started}  {lasted.total_seconds():.0f} s"


def submit(submission: Submission, *, address: str | None) -> SubmitOutcome:
    """Send a job to the cluster, unless it is already there.

    Args:
        submission: The job.
        address: See `cluster.access.connection.resolve_address`.

    Returns:
        "attached": a job of this name is pending, running or has succeeded; nothing was sent.
        "resubmitted": it had failed, been stopped or been lost with the head that it ran on; its
        record was replaced, after 5 s. The log on the cluster goes on after that of the earlier
        attempts, if it is there.
        "submitted": the name was new.

    Raises:
        ValueError: A variable of `env_names` is not set, or a job of this name that has not
            failed runs another command or configuration.
        RuntimeError: The cluster cannot be reached or refuses the token.
    """
    environment = _read_environment(submission.env_names)
    url, client = connect(address)
    with explained_errors(url):
        existing = _find_job(client, submission.submission_id)
        if existing is not None and existing.status not in (JobStatus.FAILED, JobStatus.STOPPED):
            _check_same(submission, existing)
            if existing.status is JobStatus.SUCCEEDED or not _is_lost(client, existing):
                return "attached"
        if existing is not None:
            time.sleep(RESUBMIT_DELAY_S)
            if _find_job(client, submission.submission_id) is not None:
                client.delete_job(submission.submission_id)
        _send(client, submission, environment)
    return "submitted" if existing is None else "resubmitted"


def _is_lost(client: JobSubmissionClient, job: JobDetails) -> bool:
    """Tell whether a job that the cluster says to run ended with the head that ran it.

    A head that came back with the records of the one that was lost looks after its jobs only from
    the first time it is asked to change one. To delete a job that runs is such a question; Ray
    refuses it.
    """
    with suppress(RuntimeError):
        client.delete_job(str(job.submission_id))
    deadline_s = time.monotonic() + LOST_TIMEOUT_S
    while time.monotonic() < deadline_s:
        time.sleep(POLL_INTERVAL_S)
        now = _find_job(client, str(job.submission_id))
        if now is None or now.status.is_terminal():
            return now is None or now.status is not JobStatus.SUCCEEDED
    return False


def _send(
    client: JobSubmissionClient, submission: Submission, environment: dict[str, str]
) -> None:
    """Submit a job; a cluster that has just started may not have its job agent yet."""
    # Ray tells of each ignored .gitignore and of folders that are left out anyway.
    logging.getLogger("ray").setLevel(logging.ERROR)
    deadline_s = time.monotonic() + AGENT_TIMEOUT_S
    while True:
        try:
            client.submit_job(**submission.request(environment))
        except RuntimeError as error:
            if NO_AGENT not in str(error):
                raise
            if time.monotonic() > deadline_s:
                raise RuntimeError(
                    f"The head's job agent must be up within {AGENT_TIMEOUT_S:.0f} s, but it is "
                    "not. Read dashboard_agent.log of the head: another process may hold its port "
                    "(52365, or --dashboard-agent-listen-port)."
                ) from error
            time.sleep(POLL_INTERVAL_S)
        else:
            return


def job_status(address: str | None, submission_id: str) -> JobRecord:
    """Return what the cluster knows of one job.

    Args:
        address: See `cluster.access.connection.resolve_address`.
        submission_id: Name of the job.

    Raises:
        ValueError: No job has this name.
        RuntimeError: The cluster cannot be reached or refuses the token.
    """
    url, client = connect(address)
    with explained_errors(url):
        return _as_record(require_job(client, url, submission_id))


def list_jobs(address: str | None) -> list[JobRecord]:
    """Return every job submitted to the cluster, the newest first, less those that only fetch.

    Args:
        address: See `cluster.access.connection.resolve_address`.

    Raises:
        RuntimeError: The cluster cannot be reached or refuses the token.
    """
    url, client = connect(address)
    with explained_errors(url):
        jobs = [job for job in client.list_jobs() if job.submission_id is not None]
        jobs = [job for job in jobs if FETCHES not in (job.metadata or {})]
    jobs.sort(key=lambda job: (-(job.start_time or 0), job.submission_id))
    return [_as_record(job) for job in jobs]


def stop_job(address: str | None, submission_id: str) -> JobStatus:
    """Stop a job and wait until it has ended; a job that has ended is left as it is.

    Args:
        address: See `cluster.access.connection.resolve_address`.
        submission_id: Name of the job.

    Returns:
        The job's status: STOPPED, or SUCCEEDED or FAILED when it ended by itself.

    Raises:
        ValueError: No job has this name.
        RuntimeError: The job has not ended within 30 s, or the cluster cannot be reached or
            refuses the token.
    """
    url, client = connect(address)
    with explained_errors(url):
        status = require_job(client, url, submission_id).status
        if not status.is_terminal():
            client.stop_job(submission_id)
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        while not status.is_terminal():
            if time.monotonic() > deadline_s:
                raise RuntimeError(
                    f"The job {submission_id} must end within {STOP_TIMEOUT_S:.0f} s, but it is "
                    f"still {status}. Ask for its status again later."
                )
            time.sleep(POLL_INTERVAL_S)
            status = client.get_job_status(submission_id)
    return status


def _read_environment(names: Sequence[str]) -> dict[str, str]:
    """Return the values of the named variables, all of which must be set."""
    for name in names:
        if name not in os.environ:
            raise ValueError(
                f"A variable to send must be set, but {name} is not. Set it, or do not name it."
            )
    return {name: os.environ[name] for name in names}


def _find_job(client: JobSubmissionClient, submission_id: str) -> JobDetails | None:
    """Return the job of this name, or None."""
    return next((job for job in client.list_jobs() if job.submission_id == submission_id), None)


def require_job(client: JobSubmissionClient, url: str, submission_id: str) -> JobDetails:
    """Return the job of this name; ValueError when the cluster has none."""
    job = _find_job(client, submission_id)
    if job is None:
        raise ValueError(
            f"The cluster at {url} must have a job {submission_id!r}, but it has none of that "
            "name. List its jobs with `scpo jobs`."
        )
    return job


def _check_same(submission: Submission, existing: JobDetails) -> None:
    """Raise ValueError when the cluster's job runs another command or configuration."""
    command = shlex.join(submission.entrypoint)
    if existing.entrypoint != command or existing.metadata != submission.metadata:
        raise ValueError(
            f"A run name must stand for one command and configuration, but job "
            f"{submission.submission_id} is {existing.status} with `{existing.entrypoint}` and "
            f"{existing.metadata}, which differ from `{command}` and {submission.metadata}. "
            "Give another run name, or stop that job first if it still runs."
        )


def _as_record(job: JobDetails) -> JobRecord:
    """Return the part of Ray's record that is shown."""
    return JobRecord(
        submission_id=str(job.submission_id),
        status=job.status,
        message=job.message or "",
        entrypoint=job.entrypoint,
        metadata=dict(job.metadata or {}),
        started_at=_as_time(job.start_time),
        ended_at=_as_time(job.end_time),
    )


def _as_time(time_ms: int | None) -> datetime | None:
    """Return a Unix time in milliseconds as a time in UTC; Ray writes 0 for 'not yet'."""
    return datetime.fromtimestamp(time_ms / 1000, UTC) if time_ms else None
