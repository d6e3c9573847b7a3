"""Reads a job's log, or prints it as it grows; errors as of `cluster.jobs.client`."""

import asyncio
import time

import aiohttp
from ray.job_submission import JobStatus, JobSubmissionClient

from cluster.jobs.client import connect_to_job

_POLL_INTERVAL_S = 0.5


def job_log(address: str | None, submission_id: str) -> str:
    """Return the whole log of a job, as it is now."""
    with connect_to_job(address, submission_id) as (client, _):
        return client.get_job_logs(submission_id)


def follow_logs(address: str | None, submission_id: str) -> JobStatus:
    """Print a job's log, from its beginning, until the job has ended; return its last status.

    A broken connection is opened again, and printing continues where it stopped. Ctrl-C does not
    stop the job.
    """
    with connect_to_job(address, submission_id) as (client, job):
        status, num_printed = job.status, 0
        while True:
            had_ended = status.is_terminal()
            num_printed, is_whole = asyncio.run(_print_log(client, submission_id, num_printed))
            status = client.get_job_status(submission_id)
            # A log that broke off is asked for once more after the end.
            if status.is_terminal() and (is_whole or had_ended):
                return status
            time.sleep(_POLL_INTERVAL_S)


async def _print_log(
    client: JobSubmissionClient, submission_id: str, num_printed: int
) -> tuple[int, bool]:
    """Print the log beyond `num_printed` characters; return how many are now, and if it ended."""
    num_seen = 0
    try:
        async for text in client.tail_job_logs(submission_id):
            print(text[max(0, num_printed - num_seen) :], end="", flush=True)
            num_seen += len(text)
            num_printed = max(num_printed, num_seen)
    except (RuntimeError, aiohttp.ClientError):
        return num_printed, False  # a proxy closed an idle socket
    return num_printed, True
