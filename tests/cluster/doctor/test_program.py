"""What the half of the doctor that runs on the cluster leaves behind: nothing."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.doctor import program


@pytest.fixture
def request_(tmp_path: Path) -> dict[str, Any]:
    place = {"address": "local", "storage": str(tmp_path / "not-yet"), "token": "ab12"}
    return {**place, "paths": {}, "driver_paths": {}, "temp": "/tmp", "limit_s": 30.0}


def test_a_program_that_breaks_leaves_no_file_in_the_storage(
    request_: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def breaks(address: str) -> None:
        seen.extend(path.name for path in tmp_path.iterdir())
        raise BrokenPipeError("nobody reads")

    watchdog = SimpleNamespace(start=lambda: None)  # the real one would end the tests
    monkeypatch.setattr(program.threading, "Timer", lambda *_: watchdog)
    monkeypatch.setattr(program, "_examine_here", lambda *_: {})
    monkeypatch.setattr(program, "_join_ray", breaks)
    with pytest.raises(BrokenPipeError):
        program.print_facts(request_)
    assert seen == [".scpo-doctor-ab12-driver"]
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_hangs_removes_its_file_before_it_is_ended(
    request_: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_["storage"] = str(tmp_path)
    (tmp_path / ".scpo-doctor-ab12-driver").touch()
    ended: list[int] = []
    monkeypatch.setattr(program.os, "_exit", ended.append)
    program._give_up(request_)
    assert (ended, list(tmp_path.iterdir())) == ([1], [])


def test_files_of_nodes_are_removed_though_one_cannot_be_read_or_was_late(
    request_: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_["storage"] = str(tmp_path)
    for writer in ("a", "late", "driver"):
        (tmp_path / f".scpo-doctor-ab12-{writer}").touch()
    facts = {"a": {"storage": {"value": {}}}, "late": {"storage": {"error": "no answer in time"}}}

    def refuse(*_: str) -> bool:
        raise OSError("stale")

    monkeypatch.setattr(program, "read_file", refuse)
    outcome = program._compare_files(request_, facts, program.time.monotonic() + 30)
    assert outcome == {"error": "OSError: stale"}
    assert list(tmp_path.iterdir()) == []
