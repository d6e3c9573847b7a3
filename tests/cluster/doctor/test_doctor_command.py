"""`scpo doctor` through the command line, with stand-ins for what it finds and where."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import cluster.doctor.doctor
from cluster.doctor.doctor import Question
from cluster.doctor.node_findings import Finding
from scpo.__main__ import make_app

Doctor = Callable[..., Result]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str | None, Question]]:
    """What `examine` was asked; a token lies in the home folder, and no address is set."""
    seen: list[tuple[str | None, Question]] = []

    def examine(address: str | None, question: Question, *, limit_s: float) -> list[Finding]:
        assert 10 < limit_s < 15
        seen.append((address, question))
        level = "failure" if question.storage == "/full" else "ok"
        return [Finding("disk", level, "0 of 9 GiB free", "Free space.")]

    monkeypatch.setattr(cluster.doctor.doctor, "examine", examine)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.setenv(name, "")  # so that what the command sets is taken back
        monkeypatch.delenv(name)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").touch(mode=0o600)
    return seen


@pytest.fixture
def doctor(asked: Any) -> Doctor:
    return lambda *arguments: CliRunner().invoke(make_app(), ["doctor", *map(str, arguments)])


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    scpo = {"address": "http://h:1", "storage": "/mnt/runs", "start": "begin", "end": "stop"}
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"metadata": {"scpo": scpo}}))
    return path


def test_this_machine_is_looked_at_without_an_address(doctor: Doctor, asked: list[Any]) -> None:
    done = doctor()
    assert done.exit_code == 0, done.output
    ((address, question),) = asked
    assert (address, question.storage, question.estimate) == (None, "runs", None)


def test_the_environment_names_the_cluster(
    doctor: Doctor, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert doctor().exit_code == 0
    assert asked[0][0] == "head:6379"


def test_a_dashboard_is_asked_about_no_folder_unless_one_is_given(
    doctor: Doctor, asked: list[Any]
) -> None:
    assert doctor("--address", "http://head:8265").exit_code == 0
    assert doctor("--address", "http://head:8265", "--out", "/x").exit_code == 0
    assert doctor("--address", "head:6379").exit_code == 0
    assert [question.storage for _, question in asked] == [None, "/x", "runs"]


def test_a_failure_has_exit_code_1_and_a_file(doctor: Doctor, tmp_path: Path) -> None:
    done = doctor("--out", "/full", "--json", tmp_path / "found.json")
    assert done.exit_code == 1
    (finding,) = json.loads((tmp_path / "found.json").read_text())["findings"]
    assert (finding["level"], finding["advice"]) == ("failure", "Free space.")


def test_a_profile_gives_address_storage_and_token(
    doctor: Doctor, asked: list[Any], profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[str] = []
    monkeypatch.setattr("cluster.access.connection.asks_for_token", lambda a, _: reached.append(a))
    assert doctor("--profile", profile).exit_code == 0
    assert doctor("--profile", profile, "--address", "http://h:2", "--out", "/x").exit_code == 0
    assert reached == ["http://h:1", "http://h:2"]
    asked_for = [(address, question.storage) for address, question in asked]
    assert asked_for == [("http://h:1", "/mnt/runs"), ("http://h:2", "/x")]


def test_a_profile_without_a_token_is_refused(
    doctor: Doctor, asked: list[Any], profile: Path, tmp_path: Path
) -> None:
    (tmp_path / ".ray" / "auth_token").unlink()
    done = doctor("--profile", profile)
    assert isinstance(done.exception, RuntimeError)
    assert "needs a token" in str(done.exception)
    assert asked == []


def test_a_configuration_says_what_is_read_and_wanted(doctor: Doctor, asked: list[Any]) -> None:
    config = Path(__file__).parents[3] / "sweeps" / "configs" / "demo.yaml"
    assert doctor(config, "--set", "lanes.gpus=1", "--out", "/mnt/x").exit_code == 0
    ((_, question),) = asked
    assert question.wants_gpus
    assert question.estimate is not None
    assert question.storage == "/mnt/x"
    assert question.driver_paths.keys() == {"backbone"}
