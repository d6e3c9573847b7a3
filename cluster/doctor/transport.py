"""Runs the program of `scpo doctor`, beside this process or as a job, and collects its facts.

Facts are kept as they arrive, so a hanging check loses only its own.
"""

import json
import logging
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.job_submission import JobSubmissionClient

from cluster.access.connection import CONNECT_TIMEOUT_S, DOCTOR_JOB, connect
from cluster.doctor.probes import FACT_PREFIX
from scpo.files.places import shorten_ray_temp

MODULE = "cluster.doctor.program"
# All that the program imports of this project; it is sent to clusters without it.
_SENT_FILES = (
    "cluster/__init__.py",
    *(f"cluster/doctor/{name}.py" for name in ("__init__", "program", "probes", "exchange")),
    "scpo/__init__.py",
    *(f"scpo/files/{name}.py" for name in ("__init__", "places")),
)
_ROOT = Path(__file__).parents[2]
_POLL_INTERVAL_S = 0.2
_READ_AFTER_S = 60.0  # the log of a job that ended earlier is read by nobody


@dataclass
class Collected:
    """Facts that have arrived."""

    facts: dict[str, Any] = field(default_factory=dict)  # the last fact of each name
    nodes: list[dict[str, Any]] = field(default_factory=list)  # facts of each node
    # Outcome of each backend's all-reduce.
    reduced: list[dict[str, Any]] = field(default_factory=list)
    has_ended: bool = False  # whether the program has ended

    def add_line(self, line: str) -> None:
        """Add the fact in a line of output; other lines are ignored."""
        if not line.startswith(FACT_PREFIX):
            return
        try:
            content = json.loads(line[len(FACT_PREFIX) :])
        except json.JSONDecodeError:  # an incomplete line
            return
        name, fact = content["name"], content["fact"]
        if name == "node":
            self.nodes.append(fact)
        elif name == "reduced":
            self.reduced.append(fact)
        elif name == "end":
            self.has_ended = True
        else:
            self.facts[name] = fact


def run_beside(request: Mapping[str, Any], collected: Collected) -> None:
    """Run the program in a process on this machine, and collect its facts.

    The program stops the Ray that it has started.

    Raises:
        RuntimeError: Nothing listens at the cluster's address, or the program broke.
    """
    if ":" in request["address"]:
        _check_listens(request["address"])
    # The request has the address; RAY_ADDRESS would contradict it.
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    search_path = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(search_path)
    if short := shorten_ray_temp():
        environment["RAY_TMPDIR"] = short
    environment.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-m", MODULE, json.dumps(dict(request))],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # on Ctrl-C here, it still stops its Ray
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            collected.add_line(line)
        if not collected.has_ended:
            errors.seek(0)
            raise RuntimeError(f"the program ended early: {_last_line(errors.read())}")


def run_as_job(request: Mapping[str, Any], collected: Collected) -> None:
    """Run the program as a job of a cluster, and collect its facts.

    The job's record stays until the next call, because it ends after this process.

    Raises:
        RuntimeError: No dashboard answers, it refuses the token, or the job failed.
        ValueError: The address does not begin with http:// or https://.
    """
    logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)
    with connect(request["address"]) as client, tempfile.TemporaryDirectory() as folder:
        _delete_ended(client)
        for name in _SENT_FILES:
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(_ROOT / name, Path(folder) / name)
        job = f"doctor-{request['token']}"
        on_cluster = dict(request) | {"address": "auto"}
        client.submit_job(
            entrypoint=shlex.join(("python", "-m", MODULE, json.dumps(on_cluster))),
            submission_id=job,
            runtime_env={"working_dir": folder},
            metadata={DOCTOR_JOB: request["token"]},
        )
        num_taken = 0
        while not collected.has_ended:
            status = client.get_job_status(job)
            log = client.get_job_logs(job)
            whole = [line for line in log.splitlines(keepends=True) if line.endswith("\n")]
            for line in whole[num_taken:]:
                collected.add_line(line)
            num_taken = len(whole)
            if status.is_terminal() and not collected.has_ended:
                reason = _last_line(log or str(client.get_job_info(job).message))
                raise RuntimeError(f"the job {job} is {status}: {reason}")
            time.sleep(_POLL_INTERVAL_S)


def _delete_ended(client: JobSubmissionClient) -> None:
    """Delete the records of earlier calls."""
    for job in client.list_jobs():
        age_s = time.time() - (job.end_time or 0) / 1000
        if job.submission_id is None or DOCTOR_JOB not in (job.metadata or {}):
            continue
        if job.status.is_terminal() and age_s > _READ_AFTER_S:
            with suppress(RuntimeError):  # another call has deleted it
                client.delete_job(job.submission_id)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no output"])[-1]


def _check_listens(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise RuntimeError(
            f"a Ray cluster must listen at {address}, but got: {error}. Start it, or give its "
            "address: host:6379 from one of its nodes, http://host:8265 from elsewhere"
        ) from error
