"""Reads a job's log, or prints it as it grows until the job has ended.

The log is all that is printed here.
"""

import asyncio
import time

import aiohttp
from ray.job_submission import JobStatus, JobSubmissionClient

from cluster.access.connection import connect, explained_errors
from cluster.jobs.client import require_job

POLL_INTERVAL_S = 0.5


def job_log(address: str | None, submission_id: str) -> str:
    """Return the whole log of a job, as it is now.

    Args:
        address: See `cluster.access.connection.resolve_address`.
        submission_id: Name of the job.

    Raises:
        ValueError: No job has this name.
        RuntimeError: The cluster cannot be reached or refuses the token.
    """
    url, client = connect(address)
    with explained_errors(url):
        require_job(client, url, submission_id)
        return client.get_job_logs(submission_id)


def follow_logs(address: str | None, submission_id: str) -> JobStatus:
    """Print a job's log, from its beginning, until the job has ended.

    A connection that breaks while the job runs is taken up again where the log stood. Leaving
    with Ctrl-C does not stop the job.

    Args:
        address: See `cluster.access.connection.resolve_address`.
        submission_id: Name of the job.

    Returns:
        STOPPED, SUCCEEDED or FAILED.

    Raises:
        ValueError: No job has this name.
        RuntimeError: The cluster cannot be reached or refuses the token.
    """
    url, client = connect(address)
    with explained_errors(url):
        status = require_job(client, url, submission_id).status
        num_printed = 0
        while True:
            had_ended = status.is_terminal()
            num_printed, is_whole = asyncio.run(_print_log(client, submission_id, num_printed))
            status = client.get_job_status(submission_id)
            # A log that broke off is asked for once more after the end.
            if status.is_terminal() and (is_whole or had_ended):
                return status
            time.sleep(POLL_INTERVAL_S)


async def _print_log(
    client: JobSubmissionClient, submission_id: str, num_printed: int
) -> tuple[int, bool]:
    """Print what the log holds beyond `num_printed` characters.

    Returns:
        The new number of printed characters, and whether the log came to its end.
    """
    num_seen = 0
    try:
        async for text in client.tail_job_logs(submission_id):
            print(text[max(0, num_printed - num_seen) :], end="", flush=True)
            num_seen += len(text)
            num_printed = max(num_printed, num_seen)
    except (RuntimeError, aiohttp.ClientError):
        # Sockets that idle behind a proxy break. The caller asks for the status and comes back.
        return num_printed, False
    return num_printed, True
