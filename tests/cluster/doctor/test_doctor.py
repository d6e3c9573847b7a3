import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from cluster.doctor import doctor, transport
from cluster.doctor.capacity import NodeCapacity
from cluster.doctor.doctor import Question, examine, findings_table, summarize
from cluster.doctor.node_findings import Finding
from cluster.doctor.probes import FACT_PREFIX
from cluster.doctor.transport import Collected, run_beside
from sweeps.cost.needs import ProcessNeeds

ROOT = Path(__file__).parents[3]


@pytest.fixture
def no_address(monkeypatch):
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return port


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "http://127.0.0.1:{}"])
def test_an_address_where_nothing_listens_is_refused_at_once(no_address, closed_port, address):
    found = examine(address.format(closed_port), Question(storage="/mnt/run"))
    assert [(finding.name, finding.level) for finding in found] == [("cluster", "failure")]
    assert "refused" in found[0].found
    assert "Start" in found[0].found


def test_an_address_that_never_answers_is_refused_in_time(no_address):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = examine(address, Question(storage="/mnt/run"), limit_s=2.0)
    assert [(finding.name, finding.level) for finding in found] == [("cluster", "failure")]


def test_an_address_without_a_port_that_is_a_number_is_refused(no_address):
    (finding,) = examine("head:ray", Question(storage="/mnt/run"))
    assert finding.level == "failure"


def test_a_program_that_breaks_tells_its_last_words(monkeypatch):
    monkeypatch.setattr(transport, "MODULE", "cluster.no_such_module")
    with pytest.raises(RuntimeError, match=r"ended early: .*no_such_module"):
        run_beside({"address": "local"}, Collected())


def tell_little(request, collected):
    """A transport in place of the real one: one node, which has four CPUs and 8 GiB."""
    machine = {"host": "a", "cpus": 4, "total": 8 << 30, "free": 8 << 30, "port": 1}
    facts = {
        "ray": {"value": {"nodes": [], "dashboard": ""}},
        "driver wrote": {"value": None},
        "storage": request["storage"],
        "driver reads": {"value": {"here": True}},
        "driver paths": {"value": {}},
    }
    node = {"id": "here", "machine": {"value": machine}, "storage": {"value": {"reads": True}}}
    told = [*facts.items(), ("node", node), ("end", True)]
    for name, fact in told:
        collected.add_line(FACT_PREFIX + json.dumps({"name": name, "fact": fact}))


def lanes(gib):
    return ProcessNeeds("lane", None, cpus=1.0, gpus=0.0, host={"weights": gib << 30}, device={})


@pytest.mark.parametrize(("gib", "level"), [(1, "ok"), (3, "failure")])
def test_what_does_not_fit_fails(no_address, monkeypatch, gib, level):
    monkeypatch.setattr(doctor, "run_beside", tell_little)
    found = examine(None, Question(storage="/mnt", estimate=lambda: ([lanes(gib)], 1 << 20)))
    fit = next(finding for finding in found if finding.name == "fit: lane")
    assert fit.level == level
    assert NodeCapacity("a", 4, 0, 8 << 30).num_fitting(lanes(gib)) == (4 if level == "ok" else 2)


def test_an_estimate_that_hangs_holds_up_nothing_else(no_address, monkeypatch):
    monkeypatch.setattr(doctor, "run_beside", tell_little)
    release = threading.Event()
    question = Question(storage="/mnt", estimate=lambda: release.wait(60))
    found = examine(None, question, limit_s=1.0)
    release.set()
    fit = next(finding for finding in found if finding.name == "fit")
    assert (fit.level, fit.found) == ("warning", "not estimated: no answer in time")
    assert any(finding.name == "storage" and finding.level == "ok" for finding in found)


def test_a_model_that_the_hub_does_not_give_is_not_estimated(no_address, monkeypatch):
    monkeypatch.setattr(doctor, "run_beside", tell_little)
    monkeypatch.setattr(doctor, "look_at", lambda path: {"readable": False, "how": "no network"})
    question = Question("/mnt", {"model": "owner/model"}, estimate=lambda: pytest.fail("asked"))
    found = examine(None, question)
    assert "no network" in next(f for f in found if f.name == "fit").found


def test_findings_are_counted_and_shown_as_they_are():
    found = [Finding("a", "ok", "[red]x"), Finding("b", "failure", "y", "do z")]
    assert summarize(found) == "1 ok, 0 warnings, 1 failures"
    cells = [str(cell) for cell in findings_table(found).columns[2].cells]
    assert cells == ["[red]x", "y\n-> do z"]


# In a process of its own, as the command line; a busy machine may take its time.
SCENARIO = """
import json, sys
from dataclasses import asdict
from cluster.doctor.doctor import Question, examine
found = examine(sys.argv[1], Question(storage=sys.argv[2]), limit_s=60.0)
print(json.dumps([asdict(finding) for finding in found]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, pytest.param(3, marks=pytest.mark.exhaustive)])
def test_real_nodes(no_address, tmp_path, monkeypatch, number):
    """Raylets on one machine, without a dashboard."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster()
    try:
        for _ in range(number):
            cluster.add_node(num_cpus=1, object_store_memory=80_000_000, include_dashboard=False)
        cluster.wait_for_nodes()
        address = cluster.address
        command = [sys.executable, "-c", SCENARIO, address, str(tmp_path)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90)
    finally:
        cluster.shutdown()
    assert ended.returncode == 0, ended.stderr
    found = {each["name"]: each for each in json.loads(ended.stdout)}
    assert found["cluster"]["found"] == f"{address}: {number} nodes"
    assert found["versions"]["level"] == "ok", found
    assert found["gloo"]["found"].startswith(
        f"all-reduce over {number} ranks on {number} nodes"
    ), found
    assert f"{number} nodes and the driver" in found["storage"]["found"], found
    assert found["state API"]["found"].endswith("the cluster has no dashboard")
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".scpo-doctor")]
