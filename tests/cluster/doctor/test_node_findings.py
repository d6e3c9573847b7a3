import pytest

from cluster.doctor.node_findings import (
    GIB,
    Finding,
    judge_answers,
    judge_compiler,
    judge_devices,
    judge_disk,
    judge_memory,
    judge_reduction,
    judge_storage,
    judge_versions,
)

VERSIONS = {
    "python": "3.11.7",
    "ray": "2.60.0",
    "torch": "2.13.0",
    "deepspeed": "0.19.8",
    "transformers": "5.24.0",
    "scpo": "0.1.0",
}
TOOLS = {"c++": "/usr/bin/c++", "ninja": "/usr/bin/ninja", "nvcc": None}


def node(name, **changes):
    """A node that is well, with some of its answers changed."""
    value = {
        "versions": VERSIONS,
        "machine": {"host": name, "cpus": 4, "total": 16 * GIB, "free": 12 * GIB, "port": 1},
        "devices": {"gpus": [], "backends": {"gloo": True, "nccl": False}},
        "compiler": TOOLS,
        "disk": {"the storage": {"folder": "/mnt", "total": 100 * GIB, "free": 50 * GIB}},
        "storage": {"reads": True},
        "paths": {},
    } | changes
    return {"id": f"id-{name}", **{probe: {"value": each} for probe, each in value.items()}}


def levels(found):
    return [finding.level for finding in ([found] if isinstance(found, Finding) else found)]


def test_equal_versions_are_well():
    finding = judge_versions([node("a"), node("b")])
    assert levels(finding) == ["ok"]
    assert "torch 2.13.0" in finding.found
    assert "2 nodes" in finding.found


@pytest.mark.parametrize("package", VERSIONS)
def test_another_version_on_one_node_fails(package):
    other = "3.12.1" if package == "python" else "2.60.99"
    finding = judge_versions([node("a"), node("b", versions=VERSIONS | {package: other})])
    assert levels(finding) == ["failure"]
    assert f"{package}: {VERSIONS[package]} on a; {other} on b" in finding.found
    assert "one container image" in finding.advice


def test_a_missing_package_fails_everywhere():
    without = VERSIONS | {"deepspeed": None}
    finding = judge_versions([node("a", versions=without), node("b", versions=without)])
    assert levels(finding) == ["failure"]
    assert "deepspeed: not installed on a, b" in finding.found


def test_a_version_that_the_package_does_not_take_fails():
    old = VERSIONS | {"ray": "2.9.0"}
    finding = judge_versions([node("a", versions=old)])
    assert levels(finding) == ["failure"]
    assert "ray 2.9.0, but scpo needs" in finding.found


def test_a_job_brings_its_own_code():
    without = [node("a", versions=VERSIONS | {"scpo": None})]
    assert levels(judge_versions(without, code_is_sent=True)) == ["ok"]
    assert levels(judge_versions(without)) == ["failure"]


def test_gpus_that_are_wanted_and_missing_fail():
    assert levels(judge_devices([node("a")], wants_gpus=False)) == ["ok"]
    finding = judge_devices([node("a")], wants_gpus=True)
    assert levels(finding) == ["failure"]
    assert "lanes.gpus" in finding.advice


def test_gpus_are_counted_by_kind():
    gpu = {"name": "H100", "bytes": 80 * GIB}
    nodes = [node("a", devices={"gpus": [gpu, gpu]}), node("b", devices={"gpus": [gpu]})]
    finding = judge_devices(nodes, wants_gpus=True)
    assert (finding.level, finding.found) == ("ok", "8 CPUs, 3 x H100 (80 GiB)")


def test_a_missing_compiler_warns_and_says_that_it_matters_little():
    finding = judge_compiler([node("a"), node("b", compiler=TOOLS | {"c++": None, "ninja": None})])
    assert (finding.level, finding.found) == ("warning", "b lacks c++, ninja")
    assert "scpo trains without" in finding.advice


def test_nvcc_matters_on_a_gpu_node_only():
    assert levels(judge_compiler([node("a")])) == ["ok"]
    finding = judge_compiler([node("a", devices={"gpus": [{"name": "H100", "bytes": 1}]})])
    assert (finding.level, finding.found) == ("warning", "a lacks nvcc")


@pytest.mark.parametrize(
    ("total", "free", "needed", "level", "words"),
    [
        (100, 50, 0, "ok", "at least 50.0 GiB free"),
        (100, 50, 49, "ok", "the run writes 49.0 GiB"),
        (100, 50, 51, "failure", "the run writes 51.0 GiB"),
        (100, 8, 0, "warning", "8.0 GiB free"),
        (10, 0.5, 0, "failure", "0.5 GiB free"),
        (1000, 40, 0, "failure", "96 % used; Ray stops at 95 % used"),
    ],
)
def test_a_full_disk_fails(total, free, needed, level, words):
    disk = {"the storage": {"folder": "/mnt", "total": total * GIB, "free": free * GIB}}
    (finding,) = judge_disk([node("b", disk=disk)], needed * GIB)
    assert finding.level == level
    assert words in finding.found


def test_what_the_run_writes_goes_to_the_storage_alone():
    disk = {"Ray's folder": {"folder": "/tmp", "total": 100 * GIB, "free": 50 * GIB}}
    assert levels(judge_disk([node("a", disk=disk)], 90 * GIB)) == ["ok"]


def test_a_node_without_memory_fails():
    machine = {"host": "b", "cpus": 4, "total": 16 * GIB, "free": GIB, "port": 1}
    (finding,) = judge_memory([node("a"), node("b", machine=machine)])
    assert (finding.level, finding.found) == ("failure", "b: 1.0 GiB free")
    assert levels(judge_memory([node("a")])) == ["ok"]


def test_a_storage_seen_from_everywhere_is_well():
    nodes = [node("a"), node("b")]
    seen = {"value": {"id-a": True, "id-b": True}}
    (finding,) = judge_storage("/mnt", {"value": None}, nodes, seen)
    assert finding.level == "ok"
    assert "2 nodes and the driver" in finding.found


@pytest.mark.parametrize(
    ("wrote", "changes", "seen", "words"),
    [
        ({"error": "PermissionError: no"}, {}, {}, "/mnt: PermissionError: no"),
        ({"value": None}, {"reads": False}, {"id-b": True}, "b does not see the driver"),
        (
            {"value": None},
            {"reads": True},
            {"id-b": False},
            "the driver does not see the file of b",
        ),
        ({"value": None}, {"reads": True}, None, "the file of b: OSError: stale"),
    ],
)
def test_a_storage_that_is_not_one_fails(wrote, changes, seen, words):
    reads = {"error": "OSError: stale"} if seen is None else {"value": seen}
    found = judge_storage("/mnt", wrote, [node("b", storage=changes)], reads)
    assert levels(found) == ["failure"]
    assert words in found[0].found
    assert "same path on every node" in found[0].advice


def test_a_bucket_is_no_mounted_folder():
    (finding,) = judge_storage("s3://bucket/x", {"error": "OSError: refused"}, [], {})
    assert levels(finding) == ["failure"]
    assert "credentials" in finding.advice


def test_a_node_that_cannot_write_fails():
    there = node("a") | {"storage": {"error": "FileNotFoundError: no folder /mnt here"}}
    found = judge_storage("/mnt", {"value": None}, [there], {"value": {}})
    assert levels(found) == ["failure"]
    assert "a: FileNotFoundError" in found[0].found


def test_no_folder_is_said():
    assert levels(judge_storage(None, {}, [], {})) == ["warning"]


def test_a_sum_that_fails_names_the_node_and_the_variable():
    ranks = [{"id": "id-a", "value": 0.2}, {"id": "id-b", "error": "RuntimeError: timed out"}]
    finding = judge_reduction("gloo", ranks, {"id-a": "a", "id-b": "b"})
    assert (finding.level, finding.found) == ("failure", "b: RuntimeError: timed out")
    assert "GLOO_SOCKET_IFNAME" in finding.advice
    assert "NCCL_SOCKET_IFNAME" in judge_reduction("nccl", ranks, {}).advice


def test_a_sum_over_all_nodes_is_well():
    ranks = [{"id": "id-a", "value": 0.2}, {"id": "id-b", "value": 0.31}]
    finding = judge_reduction("gloo", ranks, {})
    assert finding.found == "all-reduce over 2 ranks on 2 nodes in 0.31 s"


def test_silent_nodes_and_hanging_probes_are_named():
    hangs = node("b") | {"devices": {"error": "no answer in time"}}
    found = judge_answers([{"id": "0123456789abcdef", "failed": "no answer in time"}, hangs])
    assert [(f.name, f.level) for f in found] == [("nodes", "failure"), ("devices", "warning")]
    assert "0123456789ab: no answer" in found[0].found
    assert "b: devices" in found[1].found


LATE = {"error": "no answer in time"}


@pytest.mark.parametrize(
    ("wrote", "probe", "reads", "who"),
    [
        (LATE, {"value": {"reads": False}}, {"value": {"id-a": True}}, "the driver"),
        ({"value": None}, LATE, {"value": {}}, "a"),
        ({"value": None}, {"value": {"reads": True}}, LATE, "the driver"),
    ],
)
def test_a_slow_storage_is_not_checked(wrote, probe, reads, who):
    (finding,) = judge_storage("/mnt", wrote, [node("a") | {"storage": probe}], reads)
    assert (finding.level, finding.found) == (
        *("warning", f"/mnt: not checked: no answer in time from {who}"),
    )
    assert finding.advice == "Try again when the machines are less busy."


@pytest.mark.parametrize(
    ("probe", "judge"),
    [
        ("versions", judge_versions),
        ("devices", lambda nodes: judge_devices(nodes, wants_gpus=True)),
        ("compiler", judge_compiler),
    ],
)
def test_what_a_node_has_not_told_in_time_is_not_missing(probe, judge):
    finding = judge([node("a") | {probe: LATE}])
    assert (finding.level, finding.found) == ("warning", "not checked on a")
    finding = judge([node("a") | {probe: LATE}, node("b")])
    assert finding.level == "warning"
    assert finding.found.endswith("not checked on a")
    (told,) = judge_answers([node("a") | {probe: LATE}])
    assert told.advice == "Try again when the machines are less busy."


def test_ranks_that_are_late_are_no_closed_ports():
    ranks = [{"id": "id-a", "value": 0.2}, {"id": "id-b"} | LATE]
    finding = judge_reduction("gloo", ranks, {"id-b": "b"})
    assert (finding.level, finding.found) == ("warning", "not checked: b: no answer in time")
