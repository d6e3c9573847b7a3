"""Buckets that are there, that are not, and that never answer."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.doctor.exchange import read_file, remove_file, write_file
from cluster.jobs.fetch import copy_remote


@pytest.fixture(params=["closed", "silent"])
def dead(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The environment of an endpoint where nothing listens, or that takes and never answers."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        if request.param == "closed":
            server.close()
        yield "s3://bucket/runs/prism"


def test_dead_bucket_is_given_up_in_time_with_what_to_do(
    dead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scpo.files.places._SILENCE_S", 1)
    started = time.monotonic()
    with pytest.raises(OSError, match=rf"{dead} must be listed.*AWS_ENDPOINT_URL"):
        copy_remote(dead, tmp_path, [], "prism")
    assert time.monotonic() - started < 60
    with pytest.raises(OSError, match=r"AWS Error NETWORK_CONNECTION"):
        write_file(dead, "token", "driver")


def test_a_bucket_that_is_there_is_written_and_read(bucket: str) -> None:
    place = f"{bucket}/runs"
    write_file(place, "token", "driver")
    assert read_file(place, "token", "driver")
    assert not read_file(place, "token", "nobody")
    remove_file(place, "token", "driver")
    assert not read_file(place, "token", "driver")
