"""Outputs packed there, printed, and unpacked here; and read from an object store."""

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import cluster.jobs.fetch
import scpo.commands.cluster
from cluster.jobs.client import FETCHED_RUN
from cluster.jobs.fetch import LEFT_OUT, copy_remote, fetch_run, unpack
from cluster.jobs.packing import ARCHIVE_PREFIX, LINE_BYTES, is_left_out, pack_and_print
from cluster.jobs.submission import Submission
from scpo.__main__ import make_app
from scpo.files.buckets import RemoteFolder

KEPT = {"trials.jsonl": "a\n" * 40_000, "curves/models.csv": "x", "report.html": "<p>ü</p>"}
LEFT = ("models/france/model.bin", "global/config.json", "data/a", "x.checkpoints/1/a", ".b.tmp")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "there" / "prism"
    for name, text in {**KEPT, **dict.fromkeys(LEFT, "large")}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "link").symlink_to("/etc/passwd")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_is_packed_and_printed_comes_out_whole(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack_and_print([str(run), str(2**20), *LEFT_OUT])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= LINE_BYTES * 4 / 3 + len(ARCHIVE_PREFIX)
    noisy = "(pid=1) something else\n" + printed + "the end\n"
    to = tmp_path / "here"
    to.mkdir()
    (to / "notes.txt").write_text("mine")
    assert unpack(noisy, str(run), to, "prism") == len(KEPT)
    assert contents(to) == {**KEPT, "notes.txt": "mine"}


def test_patterns_hold_at_the_top_unless_they_have_a_star() -> None:
    assert is_left_out(Path("models/a/b"), LEFT_OUT)
    assert not is_left_out(Path("curves/models/b"), LEFT_OUT)
    assert is_left_out(Path("a/france.checkpoints/x"), LEFT_OUT)
    assert not is_left_out(Path("models.csv"), LEFT_OUT)


def test_what_cannot_be_fetched_is_explained(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def printed(folder: Path, max_bytes: int) -> str:
        pack_and_print([str(folder), str(max_bytes), *LEFT_OUT])
        return capsys.readouterr().out

    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(FileNotFoundError, match=r"written nothing to .*Wait.*scpo logs prism"):
            unpack(printed(folder, 2**20), str(folder), tmp_path / "here", "prism")
    with pytest.raises(RuntimeError, match=r"at most 200 MiB.*rsync"):
        unpack(printed(run, 10), str(run), tmp_path / "here", "prism")
    lines = printed(run, 2**20).splitlines()
    for damaged in ("", "\n".join(lines[:-1])):
        with pytest.raises(RuntimeError, match=r"arrived damaged: .*Fetch again"):
            unpack(damaged, str(run), tmp_path / "here", "prism")
    assert not (tmp_path / "here").exists()


def test_an_archive_may_not_write_elsewhere(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../escaped"))
    content = archive.getvalue()
    header = {"num_files": 1, "size": 1, "sha256": hashlib.sha256(content).hexdigest()}
    printed = (json.dumps(header), base64.b64encode(content).decode())
    log = "".join(f"{ARCHIVE_PREFIX}{line}\n" for line in printed)
    with pytest.raises(RuntimeError, match=r"is not unpacked: .*escaped.* outside"):
        unpack(log, "/x", tmp_path / "here", "prism")
    assert not (tmp_path / "escaped").exists()


def test_object_store_is_read_from_here(bucket: str, tmp_path: Path) -> None:
    remote = RemoteFolder(f"{bucket}/prism")
    for name, text in {**KEPT, **dict.fromkeys(LEFT, "large")}.items():
        remote.write(name, text.encode())
    assert copy_remote(f"{bucket}/prism/", tmp_path / "here", LEFT_OUT, "prism") == len(KEPT)
    assert contents(tmp_path / "here") == KEPT
    with pytest.raises(FileNotFoundError, match="has written nothing"):
        copy_remote(f"{bucket}/none", tmp_path / "here", LEFT_OUT, "prism")


class FakeJobs:
    """Runs the packing job at once, in this process."""

    def __init__(self, out: str | None, capsys: pytest.CaptureFixture[str]) -> None:
        self.metadata = {} if out is None else {"scpo_out": out}
        self.capsys = capsys
        self.log = ""
        self.sent: list[Submission] = []
        self.status = "SUCCEEDED"

    def job_status(self, address: Any, name: str) -> SimpleNamespace:
        status = SimpleNamespace(is_terminal=lambda: True)
        if name == "prism":
            return SimpleNamespace(status=status, metadata=self.metadata, message="")
        return SimpleNamespace(status=self.Status(self.status), metadata={}, message="no disk")

    class Status(str):
        def is_terminal(self) -> bool:
            return True

    def submit_job(self, submission: Submission, *, address: Any) -> None:
        self.sent.append(submission)
        assert (submission.working_dir / submission.entrypoint[1]).is_file()
        pack_and_print(submission.entrypoint[2:])
        self.log = self.capsys.readouterr().out

    def job_log(self, address: Any, name: str) -> str:
        return self.log

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeJobs":
        for name in ("job_status", "submit_job", "job_log"):
            monkeypatch.setattr(cluster.jobs.fetch, name, getattr(self, name))
        return self


def test_fetch_through_a_job_of_its_own(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    jobs = FakeJobs(str(run), capsys).install(monkeypatch)
    assert fetch_run(None, "prism", tmp_path / "here") == (str(run), len(KEPT))
    assert contents(tmp_path / "here") == KEPT
    assert jobs.sent[0].submission_id.startswith("prism-fetch-")
    assert jobs.sent[0].metadata == {FETCHED_RUN: "prism"}
    everything = fetch_run(None, "prism", tmp_path / "all", with_models=True)
    assert everything == (str(run), len(KEPT) + 1)


def test_fetch_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeJobs(None, capsys).install(monkeypatch)
    with pytest.raises(ValueError, match=r"prism has no record of its output.*scpo submit"):
        fetch_run(None, "prism", tmp_path)
    jobs = FakeJobs("/mnt/x", capsys).install(monkeypatch)
    jobs.status = "FAILED"
    with pytest.raises(RuntimeError, match=r"failed to pack /mnt/x: no disk"):
        fetch_run(None, "prism", tmp_path)


def test_a_run_without_outputs_leaves_no_folder_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_nothing(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("nothing yet")

    monkeypatch.setattr(cluster.jobs.fetch, "fetch_run", find_nothing)
    monkeypatch.setattr(scpo.commands.cluster, "_use_cluster", lambda address, profile: address)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for options in ([], ["--to", "mine"]):
        done = CliRunner().invoke(make_app(), ["fetch", "prism", *options])
        assert isinstance(done.exception, FileNotFoundError)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
