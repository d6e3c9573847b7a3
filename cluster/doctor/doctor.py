"""`scpo doctor`: is this cluster, or this machine, ready for a run? It answers within 15 s.

The facts come from `cluster.doctor.program`, which runs beside this process (with its own
short-lived Ray, or in a cluster at host:port) or as a job behind a dashboard's http:// address.
Facts that do not arrive in time are reported too.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from rich.table import Table
from rich.text import Text

from cluster.doctor.capacity import Processes
from cluster.doctor.cluster_findings import (
    judge_cluster,
    judge_fit,
    judge_nodes,
    judge_paths,
    judge_relative,
)
from cluster.doctor.node_findings import Finding
from cluster.doctor.probes import Probe, is_hub_name, look_at
from cluster.doctor.transport import Collected, run_as_job, run_beside

HANG_S = 12.5  # of 15; the command line needs time to start and end
_STARTING_S = 2.5  # until a Python process or job runs, and its last line arrives
_POLL_INTERVAL_S = 0.05
_LEVEL_COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}


@dataclass(frozen=True)
class Question:
    """What to check besides the nodes."""

    storage: str | None = None  # folder of the run
    # What every node must read, by name: files, folders or models of the hub.
    paths: Mapping[str, str] = field(default_factory=dict)
    # What the driver must read, by name.
    driver_paths: Mapping[str, str] = field(default_factory=dict)
    wants_gpus: bool = False
    # Returns the kinds of processes of the run, and the bytes it writes; None: neither is checked.
    estimate: Callable[[], tuple[Sequence[Processes], int]] | None = None


def examine(address: str | None, question: Question, *, limit_s: float = HANG_S) -> list[Finding]:
    """Return the findings, in reading order; a check hangs after `limit_s` seconds.

    The address is http://host:8265 of a cluster's dashboard, or host:6379 of a cluster that this
    machine is a node of; None for this machine alone, with its own short-lived Ray.
    """
    until_s = time.monotonic() + limit_s
    estimate = None if question.estimate is None else Probe(partial(_estimate, question))
    address = address or "local"
    is_remote = address.startswith(("http://", "https://"))
    request = {
        "address": address,
        "storage": question.storage,
        "token": secrets.token_hex(4),
        "paths": dict(question.paths),
        "driver_paths": dict(question.driver_paths),
        "temp": "/tmp/ray",  # nosec B108  # Ray's own place
        "limit_s": limit_s - _STARTING_S,
    }
    collected = Collected()
    program = Probe(partial(run_as_job if is_remote else run_beside, request, collected))
    while not collected.has_ended and program.is_alive() and time.monotonic() < until_s - 0.5:
        time.sleep(_POLL_INTERVAL_S)
    outcome = program.outcome or {} if collected.has_ended else program.result(until_s - 0.5)
    needs = {} if estimate is None else estimate.result(until_s)
    found = judge_cluster(address, outcome, collected)
    if is_remote:
        storage = {"out": question.storage}
        found += judge_relative({**storage, **question.paths, **question.driver_paths})
    found += judge_nodes(
        collected,
        wants_gpus=question.wants_gpus,
        needed_bytes=needs["value"][1] if "value" in needs else 0,
        code_is_sent=is_remote,
    )
    found += judge_paths(question.paths, question.driver_paths, collected)
    return found if estimate is None else found + judge_fit(needs, collected)


def findings_table(found: Sequence[Finding]) -> Table:
    """Return findings as a table, each with its advice below."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in found:
        colour = _LEVEL_COLOURS[finding.level]
        text = finding.found if not finding.advice else f"{finding.found}\n-> {finding.advice}"
        table.add_row(finding.name, Text(finding.level, colour), text)
    return table


def summarize(found: Sequence[Finding]) -> str:
    """Return the number of findings of each level, in one line."""
    count = {level: sum(f.level == level for f in found) for level in _LEVEL_COLOURS}
    return f"{count['ok']} ok, {count['warning']} warnings, {count['failure']} failures"


def _estimate(question: Question) -> tuple[Sequence[Processes], int]:
    """Return the estimate; try the hub first, because its own client waits long."""
    for path in (*question.paths.values(), *question.driver_paths.values()):
        if is_hub_name(path) and not (seen := look_at(path))["readable"]:
            raise FileNotFoundError(seen["how"])
    assert question.estimate is not None
    return question.estimate()
