"""`scpo doctor`: is this cluster, or this machine, ready for a run? An answer within 15 s.

The facts come from `cluster.doctor.program`, which runs beside this process (an own short-lived
Ray, or a cluster that host:port names) or as a job behind a dashboard's http:// address. They are
read as they come; what has not come in time is a finding of its own.
"""

import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from rich.table import Table
from rich.text import Text

from cluster.doctor.capacity import Processes
from cluster.doctor.findings import Finding
from cluster.doctor.probes import Probe, is_hub_name, look_at
from cluster.doctor.transport import Collected, ask_beside, ask_by_job
from cluster.doctor.verdicts import (
    judge_cluster,
    judge_fit,
    judge_nodes,
    judge_paths,
    judge_relative,
)

LIMIT_S = 12.5  # of 15; the command line needs its own time to start and end
STARTING_S = 2.5  # a Python process or job comes up, and its last line arrives
POLL_INTERVAL_S = 0.05
COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}


@dataclass(frozen=True)
class Question:
    """What to look at besides the nodes themselves.

    Attributes:
        storage: Folder of the run, or None.
        paths: What every node must read, by name: files, folders or names of the hub.
        driver_paths: What the process that drives the run must read.
        wants_gpus: Whether GPUs are asked for.
        estimate: Gives the kinds of processes that are to fit, and the bytes that the run
            writes; None to leave both out.
    """

    storage: str | None = None
    paths: Mapping[str, str] = field(default_factory=dict)
    driver_paths: Mapping[str, str] = field(default_factory=dict)
    wants_gpus: bool = False
    estimate: Callable[[], tuple[Sequence[Processes], int]] | None = None


def examine(address: str | None, question: Question, *, limit_s: float = LIMIT_S) -> list[Finding]:
    """Return what was found, in the order in which it should be read.

    Args:
        address: http://host:8265 of a cluster's dashboard, or host:6379 of a cluster that this
            machine is a node of; None takes RAY_API_SERVER_ADDRESS or RAY_ADDRESS, and without
            them looks at this machine alone, with an own short-lived Ray.
        question: What to look at.
        limit_s: Seconds after which what has not answered counts as hanging.
    """
    until_s = time.monotonic() + limit_s
    estimate = None if question.estimate is None else Probe(partial(_estimate, question))
    where = address or _ambient_address() or "local"
    is_remote = where.startswith(("http://", "https://"))
    request = {
        "address": where,
        "storage": question.storage,
        "token": secrets.token_hex(4),
        "paths": dict(question.paths),
        "driver_paths": dict(question.driver_paths),
        "temp": "/tmp/ray",
        "limit_s": limit_s - STARTING_S,
    }
    collected = Collected()
    asking = Probe(partial(ask_by_job if is_remote else ask_beside, request, collected))
    while not collected.has_ended and asking.is_alive() and time.monotonic() < until_s - 0.5:
        time.sleep(POLL_INTERVAL_S)
    told = asking.outcome or {} if collected.has_ended else asking.result(until_s - 0.5)
    sized = {} if estimate is None else estimate.result(until_s)
    found = judge_cluster(where, told, collected)
    if is_remote:
        storage = {"out": question.storage}
        found += judge_relative({**storage, **question.paths, **question.driver_paths})
    found += judge_nodes(
        collected,
        wants_gpus=question.wants_gpus,
        needed_bytes=sized["value"][1] if "value" in sized else 0,
        code_is_sent=is_remote,
    )
    found += judge_paths(question.paths, question.driver_paths, collected)
    return found if estimate is None else found + judge_fit(sized, collected)


def findings_table(found: Sequence[Finding]) -> Table:
    """Return findings as a table, with what to do below each that is not well."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in found:
        colour = COLOURS[finding.level]
        text = finding.found if not finding.advice else f"{finding.found}\n-> {finding.advice}"
        table.add_row(finding.name, f"[{colour}]{finding.level}[/]", Text(text))
    return table


def summarize(found: Sequence[Finding]) -> str:
    """Return in one line how many checks were well."""
    count = {level: sum(f.level == level for f in found) for level in COLOURS}
    return f"{count['ok']} ok, {count['warning']} warnings, {count['failure']} failures"


def _estimate(question: Question) -> tuple[Sequence[Processes], int]:
    """Return the estimate; the hub is tried first, whose own client would wait for long."""
    for path in (*question.paths.values(), *question.driver_paths.values()):
        if is_hub_name(path) and not (seen := look_at(path))["readable"]:
            raise FileNotFoundError(seen["how"])
    assert question.estimate is not None
    return question.estimate()


def _ambient_address() -> str | None:
    """Return the address that the environment names, as Ray's own tools read it."""
    names = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
    return next((os.environ[name] for name in names if os.environ.get(name)), None)
