import shutil
import threading
import time
from collections import namedtuple

import pytest

from cluster.doctor import probes
from cluster.doctor.exchange import (
    read_file,
    reduce_here,
    reduce_together,
    remove_file,
    write_file,
)
from cluster.doctor.probes import (
    Probe,
    examine_node,
    find_compiler,
    find_disk,
    find_machine,
    find_versions,
    is_hub_name,
    look_at,
    nearest_folder,
)

TOKEN = "0a1b2c3d"


def ask(folder, **changes):
    request = {"storage": str(folder), "token": TOKEN, "paths": {}, "temp": str(folder)}
    return examine_node(request | changes, "n1", 10.0)


def test_a_node_says_all_of_itself(tmp_path):
    write_file(str(tmp_path), TOKEN, "driver")
    facts = ask(tmp_path, paths={"model": str(tmp_path), "data": "/nowhere"})
    assert not [name for name, outcome in facts.items() if "value" not in outcome]
    assert facts["storage"] == {"value": {"reads": True}}
    assert facts["versions"]["value"]["ray"]
    assert facts["machine"]["value"]["free"] <= facts["machine"]["value"]["total"]
    assert facts["paths"]["value"]["model"]["readable"]
    assert not facts["paths"]["value"]["data"]["readable"]
    assert (tmp_path / f".scpo-doctor-{TOKEN}-n1").read_text() == TOKEN


def test_a_folder_that_the_driver_does_not_write_to_is_told(tmp_path):
    assert ask(tmp_path)["storage"] == {"value": {"reads": False}}


def test_a_storage_that_is_not_here_is_an_error(tmp_path):
    outcome = ask(tmp_path / "missing", temp=str(tmp_path))["storage"]
    assert outcome["error"].startswith("FileNotFoundError: no folder")


def test_a_storage_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(probes, "exchange_files", refuse)
    assert "Permission denied" in ask(tmp_path)["storage"]["error"]


def test_a_probe_that_hangs_holds_up_no_other(tmp_path, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(probes, "find_compiler", release.wait)
    request = {"storage": None, "token": TOKEN, "paths": {}, "temp": str(tmp_path)}
    facts = examine_node(request, "n1", 0.5)
    release.set()
    assert facts["compiler"] == {"error": "no answer in time"}
    assert "value" in facts["machine"]


def test_a_probe_that_raises_says_what():
    def fail():
        raise ValueError("bad")

    assert Probe(fail).result(time.monotonic() + 5) == {"error": "ValueError: bad"}


def test_what_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(probes, "PACKAGES", ("ray", "no-such-package"))
    found = find_versions()
    assert found["no-such-package"] is None
    assert found["ray"]


def test_a_missing_compiler_is_told(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert find_compiler() == {"c++": None, "ninja": None, "nvcc": None}


def test_a_control_group_limits_the_memory(tmp_path, monkeypatch):
    limit, used = tmp_path / "max", tmp_path / "current"
    limit.write_text("3000000\n")
    used.write_text("1000000\n")
    real = probes.Path
    monkeypatch.setattr(
        probes,
        "Path",
        lambda name: {
            "/sys/fs/cgroup/memory.max": limit,
            "/sys/fs/cgroup/memory.current": used,
        }.get(name, real(name)),
    )
    machine = find_machine()
    assert (machine["total"], machine["free"]) == (3_000_000, 2_000_000)


def test_a_disk_is_that_of_the_nearest_folder(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda f: asked.append(f) or usage(10, 9, 1))
    found = find_disk(str(tmp_path / "a" / "b"))
    assert asked == [tmp_path]
    assert (found["total"], found["free"]) == (10, 1)
    assert nearest_folder(str(tmp_path)) == tmp_path


def test_files_of_the_storage_come_and_go(tmp_path):
    place = str(tmp_path)
    assert not read_file(place, TOKEN, "n1")
    write_file(place, TOKEN, "n1")
    assert read_file(place, TOKEN, "n1")
    (tmp_path / f".scpo-doctor-{TOKEN}-n1").write_text("of another run")
    assert not read_file(place, TOKEN, "n1")
    remove_file(place, TOKEN, "n1")
    remove_file(place, TOKEN, "n1")
    assert not any(tmp_path.iterdir())


def test_names_of_the_hub_are_told_from_paths():
    assert is_hub_name("owner/model")
    assert not any(map(is_hub_name, ("model", "/a/b", "./a", "../a", "~/a", "a/b/c", ".venv/x")))


def test_a_hub_that_cannot_be_reached_is_told(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    found = look_at("no-owner/no-model")
    assert not found["readable"]
    assert "127.0.0.1:9/no-owner/no-model" in found["how"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in look_at("no-owner/no-model")["how"]


def test_one_rank_sums_with_itself():
    port = find_machine()["port"]
    assert reduce_together(0, 1, "127.0.0.1", port, "gloo", 0, 10.0) < 10


def test_a_rank_that_waits_alone_gives_up():
    port = find_machine()["port"]
    with pytest.raises(RuntimeError, match=r"(?i)time"):
        reduce_together(0, 2, "127.0.0.1", port, "gloo", 0, 1.0)


def test_two_ranks_of_one_process_sum():
    assert reduce_here(find_machine()["port"], 10.0) < 10
