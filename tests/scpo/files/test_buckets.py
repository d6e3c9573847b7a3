"""Folders of a real S3 server on loopback: whole, verified, fetched once, and clear when not."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scpo.files.buckets import (
    MANIFEST,
    RemoteFolder,
    get_files,
    local_copy,
    put_folder,
    remove_place,
    written_to,
)
from scpo.files.places import absolute, below, is_remote


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two files, one of several requests."""
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "deep" / "b.bin").write_bytes(b"b" * 11_000_000)
    return folder


def test_files_come_back_as_they_went(bucket: str, tmp_path: Path) -> None:
    remote = RemoteFolder(f"{bucket}/runs") / "one"
    assert remote.names() == []
    remote.write("x/y", b"first")
    remote.write("x/y", b"second")
    assert (remote.read("x/y"), remote.names()) == (b"second", ["x/y"])
    remote.get("x/y", tmp_path / "y")
    assert (tmp_path / "y").read_bytes() == b"second"
    remote.remove("x/y")
    remote.remove("x/y")
    assert remote.names() == []
    with pytest.raises(FileNotFoundError, match="runs/one"):
        remote.read("x/y")


def test_a_folder_comes_back_and_is_fetched_once(bucket: str, folder: Path) -> None:
    remote = RemoteFolder(f"{bucket}/model")
    put_folder(folder, remote)
    copy = local_copy(remote.uri)
    assert (copy / "a.txt").read_text() == "a"
    assert (copy / "deep" / "b.bin").read_bytes() == (folder / "deep" / "b.bin").read_bytes()
    remote.remove("deep/b.bin")
    assert local_copy(remote.uri) == copy


def test_a_folder_put_again_is_fetched_again(bucket: str, folder: Path) -> None:
    remote = RemoteFolder(f"{bucket}/model")
    put_folder(folder, remote)
    first = local_copy(remote.uri)
    (folder / "a.txt").write_text("new")
    (folder / "deep" / "b.bin").unlink()
    put_folder(folder, remote)
    assert (local_copy(remote.uri) / "a.txt").read_text() == "new"
    assert (first / "a.txt").read_text() == "a"
    assert remote.names() == [MANIFEST, "a.txt"]


def test_processes_of_a_node_fetch_once_and_all_find_it_whole(bucket: str, folder: Path) -> None:
    put_folder(folder, RemoteFolder(f"{bucket}/model"))
    code = (
        "import sys; from scpo.files.buckets import local_copy; copy = local_copy(sys.argv[1]);"
        "print(copy, (copy / 'deep' / 'b.bin').stat().st_size)"
    )
    command = [sys.executable, "-c", code, f"{bucket}/model"]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {run.communicate(timeout=120)[0] for run in runs}
    assert len(said) == 1
    assert "11000000" in said.pop()


def test_a_damaged_file_is_named_and_nothing_is_left_of_it(
    bucket: str, folder: Path, tmp_path: Path
) -> None:
    remote = RemoteFolder(f"{bucket}/model")
    put_folder(folder, remote)
    remote.write("a.txt", b"other")
    with pytest.raises(ValueError, match=r"model/a.txt has other bytes than were written"):
        local_copy(remote.uri)
    assert not [path for path in (tmp_path / "home" / "fetched").iterdir() if path.is_dir()]


def test_a_folder_without_its_manifest_is_not_there(bucket: str, folder: Path) -> None:
    remote = RemoteFolder(f"{bucket}/model")
    put_folder(folder, remote)
    remote.remove(MANIFEST)
    with pytest.raises(FileNotFoundError, match="not there, or not whole"):
        local_copy(remote.uri)
    remote.write(MANIFEST, b"[]")
    with pytest.raises(ValueError, match=r"MANIFEST.json is damaged"):
        local_copy(remote.uri)


def test_a_manifest_leads_nowhere_else(bucket: str, tmp_path: Path) -> None:
    remote = RemoteFolder(f"{bucket}/model")
    remote.write("f", b"f")
    remote.write(MANIFEST, json.dumps({"files": {"../../f": {"sha256": ""}}}).encode())
    with pytest.raises(ValueError, match="leads out of the folder"):
        local_copy(remote.uri)
    with pytest.raises(ValueError, match="leads out of the folder"):
        get_files(remote, {"../f": {"sha256": ""}}, tmp_path / "here")


def test_what_fails_while_it_is_written_is_not_put(bucket: str, folder: Path) -> None:
    def fail() -> None:
        with written_to(f"{bucket}/model") as scratch:
            scratch.mkdir()
            (scratch / "half").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert RemoteFolder(f"{bucket}/model").names() == []
    with written_to(f"{bucket}/model") as scratch:
        scratch.mkdir()
        (scratch / "whole").write_text("whole")
    assert (local_copy(f"{bucket}/model") / "whole").read_text() == "whole"
    assert not scratch.exists()


def test_places_are_folders_or_uris(tmp_path: Path) -> None:
    assert all(map(is_remote, ("s3://b", "gs://b/x")))
    assert not any(map(is_remote, ("/s3", "s3:/b", "a/b://c", tmp_path)))
    for uri in ("hdfs://b", "S3://b/x", "file:///x", "http://b/x"):  # no folders named so
        with pytest.raises(ValueError, match=f"{uri} must be a folder of this machine, s3://"):
            is_remote(uri)
    assert below("s3://b/x/", "y", "z") == "s3://b/x/y/z"
    assert below(tmp_path, "y") == tmp_path / "y"
    assert absolute("gs://b/x") == "gs://b/x"
    assert Path(absolute("x")).is_absolute()
    with written_to(tmp_path / "out") as out:
        assert out == tmp_path / "out"
    (tmp_path / "gone").mkdir()
    remove_place(tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    "uri", ["s3://key:word@bucket/x", "s3://bucket/x?secret_key=word", "s3://a#word"]
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(ValueError, match="must carry no credentials") as caught:
        RemoteFolder(uri)
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("uri", ["s3://", "/runs"])
def test_what_is_no_bucket_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="Must be s3://BUCKET"):
        RemoteFolder(uri)


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    with pytest.raises(OSError, match=r"s3://no-such-bucket/x must be written, but got: .*Check"):
        RemoteFolder("s3://no-such-bucket/x").write("y", b"")


def test_a_store_that_does_not_answer_is_named_within_seconds(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(OSError, match=r"s3://unreachable/x must be listed.*AWS_ENDPOINT_URL"):
        RemoteFolder("s3://unreachable/x").names()
    assert time.monotonic() - started < 60
