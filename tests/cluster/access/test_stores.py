"""Buckets that are there, that are not, and that never answer."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow.fs import FileSelector

from cluster.access.stores import open_store
from cluster.doctor.exchange import read_file, remove_file, write_file
from cluster.doctor.findings import judge_storage
from cluster.jobs.fetch import copy_remote


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)


@pytest.fixture(params=["closed", "silent"])
def dead(
    request: pytest.FixtureRequest, credentials: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The environment of an endpoint where nothing listens, or that takes and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        if request.param == "closed":
            server.close()
        yield "s3://bucket/runs/prism"


def test_dead_bucket_is_given_up_in_time_with_what_to_do(
    dead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.access.stores.SILENCE_S", 1)
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=rf"{dead} must be readable.*AWS_ENDPOINT_URL"):
        copy_remote(dead, tmp_path, [])
    assert time.monotonic() - started < 60
    with pytest.raises(OSError, match=r"AWS Error NETWORK_CONNECTION"):
        write_file(dead, "token", "driver")


def test_a_bucket_is_no_mounted_folder() -> None:
    (finding,) = judge_storage("s3://bucket/x", {"error": "OSError: refused"}, [], {})
    assert finding.level == "failure"
    assert "credentials" in finding.advice
    (finding,) = judge_storage("/mnt/x", {"error": "OSError: refused"}, [], {})
    assert "Mount one folder" in finding.advice


def test_a_bucket_that_is_there_is_written_read_and_copied(bucket: str, tmp_path: Path) -> None:
    place = f"{bucket}/runs"
    write_file(place, "token", "driver")
    assert read_file(place, "token", "driver")
    assert not read_file(place, "token", "nobody")
    assert copy_remote(place, tmp_path, []) == 1
    remove_file(place, "token", "driver")
    with pytest.raises(FileNotFoundError, match="there is nothing"):
        copy_remote(place, tmp_path, [])


def test_a_local_folder_is_opened_too(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    for place in (str(tmp_path), tmp_path.as_uri()):
        system, path = open_store(place)
        assert [Path(info.path).name for info in system.get_file_info(FileSelector(path))] == ["a"]
