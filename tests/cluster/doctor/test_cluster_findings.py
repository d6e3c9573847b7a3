import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cluster.doctor.cluster_findings import (
    judge_cluster,
    judge_fit,
    judge_nodes,
    judge_paths,
    judge_relative,
    node_capacities,
)
from cluster.doctor.probes import FACT_PREFIX
from cluster.doctor.transport import Collected
from sweeps.cost.needs import ProcessNeeds

RAY = {
    "value": {
        "nodes": [
            {"id": "id-a", "ip": "10.0.0.1", "resources": {"CPU": 4.0}},
            {"id": "id-b", "ip": "10.0.0.2", "resources": {"CPU": 2.0, "GPU": 1.0}},
        ],
        "dashboard": "",
    }
}


def answer(name, **changes):
    machine = {"host": name, "cpus": 4, "total": 1 << 34, "free": 1 << 33, "port": 1}
    value = {
        "versions": {"python": "3.11.7", "scpo": "0.1.0"},
        "machine": machine,
        "devices": {"gpus": [], "backends": {}},
        "compiler": {"c++": "/usr/bin/c++"},
        "disk": {"Ray's folder": {"folder": "/tmp", "total": 1 << 40, "free": 1 << 39}},
        "paths": {},
    } | changes
    return {"id": f"id-{name}", **{probe: {"value": each} for probe, each in value.items()}}


def collected(*nodes, **facts):
    facts = {"ray": RAY, "state api": {"value": 2}} | facts
    return Collected(facts=facts, nodes=list(nodes), has_ended=True)


@pytest.fixture
def dashboard():
    """A dashboard that answers as `code` says."""

    class Handler(BaseHTTPRequestHandler):
        code = 401

        def do_GET(self):
            self.send_response(self.code)
            self.end_headers()
            self.wfile.write(b'{"ray_version": "2.60.0"}')

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", Handler
    server.shutdown()
    server.server_close()


def by_name(found):
    return {finding.name: finding for finding in found}


def test_a_cluster_that_is_well(dashboard):
    found = by_name(judge_cluster(dashboard[0], {}, collected()))
    assert {finding.level for finding in found.values()} == {"ok"}
    assert found["cluster"].found.endswith("2 nodes")
    assert found.keys() == {"cluster", "authentication", "state API"}


def test_an_open_dashboard_warns_on_loopback_and_fails_beyond(dashboard, monkeypatch):
    dashboard[1].code = 200
    found = by_name(judge_cluster(dashboard[0], {}, collected()))
    assert found["authentication"].level == "warning"
    assert "RAY_AUTH_MODE=token" in found["authentication"].advice
    monkeypatch.setattr("cluster.doctor.cluster_findings.asks_for_token", lambda url: False)
    found = by_name(judge_cluster("http://10.0.0.1:8265", {}, collected()))
    assert found["authentication"].level == "failure"


def test_a_cluster_that_refuses_the_token_is_all_that_is_said():
    told = {"error": "RuntimeError: The cluster at http://x must be given its token, but got none"}
    (finding,) = judge_cluster("http://x", told, Collected())
    assert finding.level == "failure"
    assert finding.found.startswith("The cluster at http://x must be given its token")
    assert "nothing else was checked" in finding.advice


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"error": "RuntimeError: the cluster has no dashboard"}, "no dashboard"),
        ({"value": 1}, "lists only 1 of 2 nodes"),
        (None, "not checked: no answer in time"),
    ],
)
def test_a_state_api_that_does_not_answer_fails(dashboard, state, words):
    facts = collected(**({} if state is None else {"state api": state}))
    if state is None:
        del facts.facts["state api"]
    finding = by_name(judge_cluster(dashboard[0], {}, facts))["state API"]
    assert finding.level == ("warning" if state is None else "failure")
    assert words in finding.found


def test_what_was_said_before_a_deadline_counts(dashboard):
    facts = collected()
    facts.has_ended = False
    finding = judge_cluster(dashboard[0], {"error": "no answer in time"}, facts)[0]
    assert (finding.name, finding.level) == ("cluster", "warning")


def test_a_local_ray_that_fails_is_a_failure_and_a_slow_one_a_warning():
    broken = Collected(facts={"ray": {"error": "OSError: No space left on device"}})
    (finding,) = judge_cluster("local", {}, broken)
    assert (finding.level, finding.found) == ("failure", "OSError: No space left on device")
    (finding,) = judge_cluster("local", {"error": "no answer in time"}, Collected())
    assert finding.level == "warning"


def test_a_node_of_which_nothing_came_fails():
    found = judge_nodes(
        collected(answer("a")), wants_gpus=False, needed_bytes=0, code_is_sent=False
    )
    failed = [finding for finding in found if finding.name == "nodes"]
    assert [finding.found for finding in failed] == ["id-b: no answer in time"]
    gloo = by_name(found)["gloo"]
    assert (gloo.level, gloo.found) == ("warning", "not checked: out of time")


def test_files_are_judged_where_they_are_read():
    readable, missing = (
        {"readable": ok, "how": how} for ok, how in ((True, "/m"), (False, "gone"))
    )
    facts = collected(
        answer("a", paths={"model": readable}),
        answer("b", paths={"model": missing}),
        **{"driver paths": {"value": {"data": missing, "backbone": readable}}},
    )
    found = by_name(judge_paths({"model": "/m"}, {"data": "/d", "backbone": "/m"}, facts))
    assert found["model"].level == "failure"
    assert "/m is not readable: b: gone" in found["model"].found
    assert found["data"].level == "failure"
    assert found["backbone"].level == "ok"


def test_a_model_that_the_hub_refuses_to_a_node_fails_with_its_own_advice():
    served, refused = ({"model": {"readable": ok, "how": "the hub"}} for ok in (True, False))
    one, two = answer("a", paths=served), answer("b", paths=refused)
    (finding,) = judge_paths({"model": "owner/name"}, {}, collected(one, two))
    assert finding.level == "failure"
    assert "HF_TOKEN" in finding.advice
    (finding,) = judge_paths({"model": "owner/name"}, {}, collected(one, one))
    assert finding.level == "ok"


def test_a_file_of_which_a_node_says_nothing_is_not_checked():
    hangs = answer("a") | {"paths": {"error": "no answer in time"}}
    (finding,) = judge_paths({"model": "/m"}, {}, collected(hangs))
    assert (finding.level, finding.found) == ("warning", "/m: not checked: a: no answer in time")
    assert "less busy" in finding.advice
    missing = answer("b", paths={"model": {"readable": False, "how": "gone"}})
    (finding,) = judge_paths({"model": "/m"}, {}, collected(hangs, missing))
    assert (finding.level, finding.found) == ("failure", "/m is not readable: b: gone")


@pytest.mark.parametrize(("is_slow", "level"), [(True, "warning"), (False, "failure")])
def test_gpus_that_a_slow_node_has_not_told_are_not_missing(is_slow, level):
    node = answer("a") | {"id": "here"}
    if is_slow:
        node["devices"] = {"error": "no answer in time"}
    lane = ProcessNeeds("lane", 1, cpus=1.0, gpus=1.0, host={}, device={})
    facts = collected(node, ray={"value": {"nodes": [], "dashboard": ""}})
    (finding,) = judge_fit({"value": ([lane], 0)}, facts)
    assert (finding.name, finding.level) == ("fit: lane", level)


def test_memory_that_lacks_on_a_node_fails_though_another_is_silent():
    lane = ProcessNeeds("lane", 1, cpus=1.0, gpus=0.0, host={"weights": 1 << 40}, device={})
    (finding,) = judge_fit({"value": ([lane], 0)}, collected(answer("a")))
    assert finding.level == "failure"


def test_relative_paths_are_refused_for_a_job():
    places = {
        "out": "runs",
        "data": "../x.jsonl",
        "model": "owner/name",
        "a": "/a",
        "b": "s3://b/c",
    }
    assert [finding.name for finding in judge_relative(places)] == ["out", "data"]


def test_an_estimate_that_fails_warns():
    (finding,) = judge_fit({"error": "FileNotFoundError: no config.json"}, collected(answer("a")))
    assert finding.level == "warning"
    assert "no config.json" in finding.found


def test_capacity_is_what_ray_gives_out_and_nodes_measure():
    gpu = {"name": "H100", "bytes": 80}
    nodes = node_capacities(collected(answer("a"), answer("b", devices={"gpus": [gpu]})))
    assert [(n.name, n.cpus, n.gpus, n.gpu_bytes) for n in nodes] == [
        ("a", 4.0, 0.0, 0),
        ("b", 2.0, 1.0, 80),
    ]
    assert nodes[0].free_bytes == 1 << 33


def test_lines_of_the_program_are_told_from_others():
    lines = Collected()
    for name, fact in (
        ("node", {"id": "a"}),
        ("reduced", {}),
        ("ray", {"value": 1}),
        ("end", True),
    ):
        lines.add_line(FACT_PREFIX + json.dumps({"name": name, "fact": fact}))
    lines.add_line("a warning of Ray")
    lines.add_line(FACT_PREFIX + '{"name": "half')
    assert lines == Collected({"ray": {"value": 1}}, [{"id": "a"}], [{}], has_ended=True)


def test_a_dashboard_that_does_not_answer_warns():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    finding = by_name(judge_cluster(url, {}, collected()))["authentication"]
    assert finding.level == "warning"
    assert f"must answer at {url}" in finding.found


def test_a_cluster_that_grows_may_have_no_room_yet():
    labels = {"ray.io/node-group": "head"}
    head = {"id": "id-a", "ip": "10.0.0.1", "resources": {"CPU": 0.0}, "labels": labels}
    lane = ProcessNeeds("lane", None, cpus=4.0, gpus=1.0, host={"weights": 1}, device={})
    empty = collected(answer("a"), ray={"value": {"nodes": [head], "dashboard": ""}})
    (finding,) = judge_fit({"value": ([lane], 0)}, empty)
    assert finding.level == "warning"
    assert finding.found.endswith("0 GPUs now; those that an autoscaler adds are not checked")
    found = judge_nodes(empty, wants_gpus=True, needed_bytes=0, code_is_sent=True)
    assert {each.level for each in found if each.name == "devices"} == {"ok"}
