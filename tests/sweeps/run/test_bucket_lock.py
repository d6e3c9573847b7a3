"""One process trains into a run of a bucket."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scpo.files.buckets import RemoteFolder, local_copy, put_folder
from scpo.files.output_folder import this_owner
from sweeps.run.bucket_lock import FOLDER, one_remote_writer


@contextmanager
def ticket_of(run: RemoteFolder, **owner: object) -> Iterator[None]:
    name = "00000001-other.lock"
    (run / FOLDER).write(name, json.dumps({**this_owner(), **owner}).encode())
    yield
    (run / FOLDER).remove(name)


def test_a_second_writer_is_refused_and_the_next_may(bucket: str) -> None:
    run = RemoteFolder(f"{bucket}/run")
    with one_remote_writer(run):
        refusal = pytest.raises(ValueError, match=r"run is being written by process \d+ of")
        with refusal, one_remote_writer(run):
            pass
        assert len((run / FOLDER).names()) == 1
    assert (run / FOLDER).names() == []
    with one_remote_writer(run):
        pass


def test_tickets_of_processes_gone_are_taken_over(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RemoteFolder(f"{bucket}/run")
    with ticket_of(run, host="elsewhere"):
        with pytest.raises(ValueError, match="on elsewhere"), one_remote_writer(run):
            pass
        written = RemoteFolder.written

        def long_ago(tickets: RemoteFolder) -> dict[str, float]:
            found = written(tickets)
            return {name: at - 100 * name.endswith("-other.lock") for name, at in found.items()}

        with monkeypatch.context() as patch:
            patch.setattr(RemoteFolder, "written", long_ago)
            with one_remote_writer(run):
                pass


def test_a_ticket_of_a_dead_process_of_this_host_is_taken_over(bucket: str) -> None:
    run = RemoteFolder(f"{bucket}/run")
    with ticket_of(run, pid=2**22 + 1), one_remote_writer(run):
        pass


def test_of_two_that_start_at_once_one_writes(bucket: str) -> None:
    for number in range(5):
        run = RemoteFolder(f"{bucket}/run{number}")
        start, leave = threading.Barrier(2), threading.Barrier(2)
        wrote: list[int] = []

        def act(
            me: int,
            run: RemoteFolder = run,
            start: threading.Barrier = start,
            leave: threading.Barrier = leave,
            wrote: list[int] = wrote,
        ) -> None:
            start.wait(30)
            try:
                with one_remote_writer(run):
                    wrote.append(me)
                    leave.wait(30)
            except ValueError:
                leave.wait(30)

        both = [threading.Thread(target=act, args=(me,)) for me in range(2)]
        for each in both:
            each.start()
        for each in both:
            each.join()
        assert len(wrote) == 1


def test_a_fetched_folder_that_was_damaged_is_fetched_again(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"weights")
    remote = RemoteFolder(f"{bucket}/model")
    put_folder(folder, remote)
    for damage in (b"weightt", b"", None):
        copy = local_copy(remote.uri) / "weights"
        copy.unlink() if damage is None else copy.write_bytes(damage)
        monkeypatch.setattr("scpo.files.buckets._VERIFIED", set())  # as in another process
        assert (local_copy(remote.uri) / "weights").read_bytes() == b"weights"
