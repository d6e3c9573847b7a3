"""How `scpo doctor` gets the facts: its program beside this process, or as a job of the cluster.

Either way the program's lines are kept as they come, so that what hangs loses only itself.
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
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.access.connection import CONNECT_TIMEOUT_S, connect, explained_errors

PREFIX = "SCPO-DOCTOR "
PROGRAM = (
    *("doctor/program.py", "doctor/probes.py", "doctor/exchange.py", "doctor/__init__.py"),
    *("access/stores.py", "access/__init__.py", "__init__.py"),
)
MODULE = "cluster.doctor.program"
POLL_INTERVAL_S = 0.2


@dataclass
class Collected:
    """Facts as they came.

    Attributes:
        facts: The last fact of each name.
        nodes: What each node said.
        reduced: What came of each backend's sum.
        has_ended: Whether the program came to its end.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    reduced: list[dict[str, Any]] = field(default_factory=list)
    has_ended: bool = False

    def take(self, line: str) -> None:
        """Keep the fact of a line of output; other lines are left."""
        if not line.startswith(PREFIX):
            return
        try:
            told = json.loads(line[len(PREFIX) :])
        except json.JSONDecodeError:  # a line that is not all here yet
            return
        name, fact = told["name"], told["fact"]
        if name == "node":
            self.nodes.append(fact)
        elif name == "reduced":
            self.reduced.append(fact)
        elif name == "end":
            self.has_ended = True
        else:
            self.facts[name] = fact


def ask_beside(request: Mapping[str, Any], collected: Collected) -> None:
    """Run the program in a process of its own on this machine, and collect what it says.

    The program ends by itself, and the Ray that it started with it.

    Raises:
        RuntimeError: Nothing listens at the cluster's address; or the program broke.
    """
    if ":" in request["address"]:
        _reach(request["address"])
    # What its Ray is to be is in the request; a surrounding RAY_ADDRESS would speak against it.
    environment = {name: v for name, v in os.environ.items() if name != "RAY_ADDRESS"}
    places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(place for place in places if place)
    environment.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-m", MODULE, json.dumps(dict(request))],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C here leaves it to shut its Ray down
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            collected.take(line)
        if not collected.has_ended:
            errors.seek(0)
            said = errors.read().strip().splitlines() or ["nothing"]
            raise RuntimeError(f"the program ended early; it said: {said[-1]}")


def ask_by_job(request: Mapping[str, Any], collected: Collected) -> None:
    """Run the program as a job behind a dashboard, and collect what it says.

    Raises:
        RuntimeError: No dashboard answers, it refuses the token, or the job did not run.
        ValueError: The address is not one.
    """
    logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)
    url, client = connect(request["address"])
    with explained_errors(url), tempfile.TemporaryDirectory() as folder:
        package, here = Path(folder) / "cluster", Path(__file__).parents[1]
        for name in PROGRAM:
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(here / name, package / name)
        job = f"doctor-{request['token']}"
        asked = dict(request) | {"address": "auto"}
        client.submit_job(
            entrypoint=shlex.join(("python", "-m", MODULE, json.dumps(asked))),
            submission_id=job,
            runtime_env={"working_dir": folder},
        )
        num_taken = 0
        while not collected.has_ended:
            status = client.get_job_status(job)
            lines = client.get_job_logs(job).splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            for line in whole[num_taken:]:
                collected.take(line)
            num_taken = len(whole)
            if status.is_terminal() and not collected.has_ended:
                said = "".join(lines).strip().splitlines() or [
                    str(client.get_job_info(job).message)
                ]
                raise RuntimeError(f"the job {job} is {status}; it said: {said[-1]}")
            time.sleep(POLL_INTERVAL_S)
        while not client.get_job_status(job).is_terminal():
            time.sleep(POLL_INTERVAL_S)
        client.delete_job(job)


def is_open(url: str) -> bool:
    """Tell whether a dashboard lets anybody in who has no token.

    Raises:
        OSError: It does not answer.
    """
    try:
        with urllib.request.urlopen(f"{url}/api/jobs/", timeout=CONNECT_TIMEOUT_S):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code not in (401, 403)


def _reach(address: str) -> None:
    """Raise RuntimeError unless something listens at host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise RuntimeError(
            f"a Ray cluster must listen at {address}, but got: {error}. Start it, or give its "
            "address: host:6379 from one of its nodes, http://host:8265 from elsewhere"
        ) from error
