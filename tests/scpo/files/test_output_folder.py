"""Folders that commands write: nothing of anybody else's is replaced, and one process writes."""

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scpo.files.atomic import MARKER, atomic_folder, read_marker
from scpo.files.output_folder import LOCK, STALE_S, output_folder, this_owner


def write(out: Path, kind: str = "data", made_from: object = "x", **given: object) -> None:
    with output_folder(out, kind, made_from, **given):  # type: ignore[arg-type]
        (out / "rows.csv").write_text("rows")


def export(out: Path, made_from: object = "x", **given: object) -> None:
    with output_folder(out, "model", made_from, replaced=True, **given):  # type: ignore[arg-type]
        with atomic_folder(out) as temporary:
            (temporary / "weights").write_text(str(made_from))


@pytest.mark.parametrize("there", ["absent", "empty", "own"])
def test_a_folder_that_is_free_or_own_is_written_and_marked(tmp_path: Path, there: str) -> None:
    for name, act in (("data", write), ("model", export)):
        out = tmp_path / name
        if there == "empty":
            out.mkdir()
        if there == "own":
            act(out)
        act(out)
        marker = read_marker(out)
        assert (marker["kind"], marker["finished"], marker["format"]) == (name, True, 1)
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(
        ["data", "model", "rows.csv", "weights", MARKER, MARKER]
    )


@pytest.mark.parametrize("act", [write, export])
def test_other_settings_need_overwrite(tmp_path: Path, act: type) -> None:
    out = tmp_path / "out"
    act(out)
    with pytest.raises(ValueError, match=r"made from other data or settings.*--overwrite"):
        act(out, made_from="y")
    act(out, made_from="y", overwrite=True)
    with pytest.raises(ValueError, match="Choose another folder"):
        act(out, made_from="x", overwrite=None)


def test_a_folder_of_a_version_before_is_equal_by_what_that_told(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, made_from="names alone")
    write(out, made_from="hashes", earlier="names alone")
    with pytest.raises(ValueError, match=r"out holds prepared data, made from other data"):
        write(out, made_from="other hashes", earlier="names alone")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("act", [write, export])
def test_what_is_somebody_elses_stays(tmp_path: Path, act: type, overwrite: bool) -> None:
    notes = tmp_path / "notes"
    (notes / "deep").mkdir(parents=True)
    (notes / "deep" / "note.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds .*(deep|other files)"):
        act(notes, overwrite=overwrite)
    other = tmp_path / "other"
    (export if act is write else write)(other)
    with pytest.raises(ValueError, match="holds"):
        act(other, overwrite=overwrite)
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ValueError, match="is a file"):
        act(file, overwrite=overwrite)
    assert (notes / "deep" / "note.txt").read_text() == file.read_text() == "mine"
    assert not (notes / MARKER).exists()


def test_files_added_to_a_model_are_not_lost(tmp_path: Path) -> None:
    out = tmp_path / "model"
    export(out)
    (out / "README.md").write_text("the card, which is written anew")
    export(out)
    for added in ("notes.txt", ".hidden", "deep/more.json"):
        (out / added).parent.mkdir(exist_ok=True)
        (out / added).write_text("mine")
        with pytest.raises(ValueError, match=f"holds {added}"):
            export(out, overwrite=True)
        with pytest.raises(ValueError, match=f"holds {added}"), atomic_folder(out):
            pass
        (out / added).unlink()
    with pytest.raises(ValueError, match="holds deep"):
        export(out, overwrite=True)
    (out / "deep").rmdir()
    os.symlink(tmp_path, out / "link")
    with pytest.raises(ValueError, match=r"holds .*link"):
        export(out, overwrite=True)


def test_current_home_roots_links_to_them_and_inputs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, house = tmp_path / "a" / "here", tmp_path / "b" / "house"
    for folder in (here, house):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(house))
    os.symlink(house, tmp_path / "link")
    os.symlink("/", tmp_path / "root")
    bad = [".", "..", "./", "x/..", "/", "~", here, here.parent, house, house.parent]
    for out in [*bad, tmp_path / "link", tmp_path / "root"]:
        for act in (write, export):
            with pytest.raises(ValueError, match=r"(is|holds) (the current|your home)"):
                act(Path(out).expanduser(), overwrite=True)
    data = tmp_path / "out" / "data"
    write(data)
    for keep in (data, data / "rows.csv"):
        with pytest.raises(ValueError, match="which this command reads"):
            export(tmp_path / "out", keep=[keep])
    assert (data / "rows.csv").exists()


def test_folders_of_earlier_versions_are_known(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.yaml", "trials.jsonl"):
        (run / name).touch()
    with pytest.raises(ValueError, match="holds other files"):
        write(run)
    write(run, "run", None)
    (run / MARKER).write_text('{"kind": "run", "format": 2}')
    with pytest.raises(ValueError, match="is of format 2"):
        write(run, "run", None)
    (run / MARKER).write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        write(run, "run", None)


def fail_within(out: Path, *files: str) -> None:
    with output_folder(out, "data", "x"):
        for name in files:
            (out / name).touch()
        raise KeyError


def test_what_failed_leaves_no_claim(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyError):
        fail_within(out)
    assert not out.exists() or not any(out.iterdir())
    with pytest.raises(KeyError):
        fail_within(out, "rows.csv")
    write(out, made_from="y")  # what was never finished is of no worth
    assert read_marker(out)["finished"]


def test_a_second_writer_is_told_who_writes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with output_folder(out, "data", "x"):
        with pytest.raises(ValueError, match=rf"process {os.getpid()} of .* on .*, since 20"):
            write(out)
        with pytest.raises(ValueError, match="is being written"):
            write(out)
    write(out)


def test_of_two_processes_that_start_at_once_one_writes(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path;"
        "from scpo.files.output_folder import output_folder\n"
        "for number in range(10):\n"
        "    while not Path(sys.argv[1], f'go{number}').exists(): time.sleep(0.001)\n"
        "    try:\n"
        "        with output_folder(Path(sys.argv[1], f'out{number}'), 'data'):\n"
        "            Path(sys.argv[1], f'out{number}', sys.argv[2]).touch(); time.sleep(0.2)\n"
        "            print('wrote', flush=True)\n"
        "    except ValueError as error: print(str(error)[-40:], flush=True)\n"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), name], stdout=subprocess.PIPE, text=True
        )
        for name in "ab"
    ]
    try:
        for number in range(10):
            (tmp_path / f"go{number}").touch()
            said = [next(iter(each.stdout.readline, "")) for each in both]  # type: ignore[union-attr]
            assert [line.strip() == "wrote" for line in said].count(True) == 1, said
            assert len(list((tmp_path / f"out{number}").glob("[ab]"))) == 1
    finally:
        for each in both:
            each.kill()
            each.communicate()


@pytest.mark.parametrize(
    ("owner", "age_s", "is_free"),
    [
        ({"pid": 2**22 + 1}, 0.0, True),  # of this host, and the kernel has freed it
        ({"host": "elsewhere"}, 5.0, False),
        ({"host": "elsewhere"}, STALE_S + 1, True),
        ("torn", 0.0, True),
    ],
)
def test_stale_locks_are_taken_over(
    tmp_path: Path, owner: object, age_s: float, is_free: bool
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    lock = out / LOCK
    lock.write_text(json.dumps({**this_owner(), **owner}) if isinstance(owner, dict) else "{")
    os.utime(lock, (time.time() - age_s,) * 2)
    if is_free:
        write(out)
    else:
        with pytest.raises(ValueError, match=r"on elsewhere.*free 60 s after"):
            write(out)


def test_a_lock_that_a_child_of_a_dead_process_keeps_is_taken_over_in_time(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    lock = out / LOCK
    lock.write_text(json.dumps({**this_owner(), "pid": 2**22 + 1}))
    with lock.open() as child:
        fcntl.flock(child, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="is being written"):
            write(out)
        os.utime(lock, (0, 0))
        write(out)


def fail(out, name=None):
    with output_folder(out, "data"):
        if name:
            (out / name).touch()
        raise OSError("no answer")


def test_work_that_fails_leaves_no_empty_folder(tmp_path):
    out = tmp_path / "runs" / "x"
    with pytest.raises(OSError, match="no answer"):
        fail(out)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="no answer"):
        fail(out, "kept")
    assert (out / "kept").is_file()
