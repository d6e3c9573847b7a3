"""Folders that commands write: one writer at a time, and never over what is somebody else's.

A folder belongs to the command that wrote it, by `.scpo.json`: its kind, a hash of what it was
made from, and whether it is finished. While a command writes, a lock names it (user, host,
process) and is touched every few seconds, and the marker as long as the work goes on. The kernel
frees the lock of a process that dies; a lock of another host, or on a file system without locks,
is free once it was not touched for a minute, which supposes that clocks agree to some seconds.
"""

import errno
import fcntl
import getpass
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from scpo.files.atomic import MARKER, MARKER_FORMAT, read_marker, refuse_other_files, write_json
from scpo.files.provenance import utc_now
from scpo.files.pulse import pulse

LOCK = ".scpo.lock"
_BEAT_S = 10.0
_NAME_S = 1.0  # how long a second writer waits for the name of the first
STALE_S = 60.0
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
# Folders of versions without a marker: all the names of one line are there.
_UNMARKED = {
    "run": (
        *(("config.yaml", "trials.jsonl"), ("config.yaml", "run.json"), ("plan.csv",)),
        *(("probe.csv",), ("probe_curves",), ("ablation", "ablation.csv")),
    ),
    "data": (("interactions.parquet", "summary.json"),),
    "evaluation": (("evaluation.json", "pairs.parquet"),),
    "opinions": (("opinions.json", "opinions.csv"),),
    "study": (("config.yaml", "study.csv"),),
    "truth": (("truth.csv",),),
    "map": (("map.csv",),),
}
_WORDS = {
    "data": "prepared data",
    "evaluation": "an evaluation",
    "opinions": "compared opinions",
    "truth": "the claims of science",
    "map": "the map of science",
}


@contextmanager
def output_folder(
    out: Path,
    kind: str,
    made_from: object = None,
    *,
    earlier: object = None,
    overwrite: bool | None = False,
    replaced: bool = False,
    keep: Sequence[str | Path | None] = (),
) -> Iterator[dict[str, Any]]:
    """Let this process alone write a folder that is absent, empty or of the same kind.

    Args:
        out: The folder.
        kind: What is written, such as "model".
        made_from: Plain values that shape the content; None where the command checks by itself.
        earlier: The same values as versions before told them, whose folders count as equal too.
        overwrite: Also write over what was made from other values; None where that cannot be.
        replaced: `atomic_folder` writes it as a whole at the end of the block.
        keep: Folders and files that the command reads; names of a hub are let pass.

    Yields:
        Further facts for the marker, to be set within the block.

    Raises:
        ValueError: The folder is another's or another process writes it; the message says whose
            it is and what to do.
    """
    _refuse_place(out, keep)
    own = {"kind": kind, "format": MARKER_FORMAT, "made_from": _hash(made_from)}
    same = {own["made_from"], _hash(earlier)} if earlier is not None else {own["made_from"]}
    if replaced:
        refuse_other_files(out, kind)
    else:
        _refuse_kind(out, kind, unless_locked=True)
    target = out.resolve()
    created = [] if replaced else [each for each in (out, *out.parents) if not each.exists()]
    lock = target.with_name(f".{target.name}.lock") if replaced else out / LOCK
    with _removed_if_empty(created), one_writer(lock, out):
        if not replaced:
            _refuse_kind(out, kind)
        held = read_marker(out)
        is_other = made_from is not None and held.get("made_from") not in same
        if is_other and held.get("finished", True) and _holds_more(out) and not overwrite:
            raise ValueError(
                f"{out} holds {_WORDS.get(kind, f'a {kind}')}, made from other data or settings. "
                "Choose another folder"
                f"{'' if overwrite is None else ', or give --overwrite to replace it'}."
            )
        facts: dict[str, Any] = {}
        if not replaced:
            write_json(out / MARKER, {**own, "finished": False})
        try:
            with heartbeat(_touch_at_progress(out / MARKER)):
                yield facts
        finally:
            if not replaced and not _holds_more(out):
                (out / MARKER).unlink(missing_ok=True)
        if (out / MARKER).is_file():
            write_json(out / MARKER, {**read_marker(out), **own, "finished": True, **facts})


@contextmanager
def _removed_if_empty(folders: Sequence[Path]) -> Iterator[None]:
    """Remove folders at the end, also of a block that raises, as far as nothing was written."""
    try:
        yield
    finally:
        for folder in folders:
            with suppress(OSError):
                folder.rmdir()


def _hash(made_from: object) -> str:
    text = json.dumps(made_from, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def one_writer(lock: Path, what: object) -> Iterator[None]:
    """Hold a lock file, which is removed afterwards.

    Raises:
        ValueError: Another process holds it; the message says who, and since when.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = _take(lock, what)
    handle.truncate(0)
    handle.write(json.dumps(this_owner()))
    handle.flush()
    try:
        with heartbeat(lambda: os.utime(lock)):
            yield
    finally:
        with suppress(FileNotFoundError):
            lock.unlink()
        handle.close()


@contextmanager
def heartbeat(beat: Callable[[], None]) -> Iterator[None]:
    """Call a function every few seconds during the block; what it cannot write is left out."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(_BEAT_S):
            with suppress(OSError):
                beat()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@dataclass(frozen=True)
class Writer:
    """Who writes a folder.

    Attributes:
        owner: As of `this_owner`; empty where the lock names nobody.
        silent_s: Seconds since the last sign of life of the process.
        still_s: Seconds since it was last seen to go on with its work.
    """

    owner: dict[str, Any]
    silent_s: float
    still_s: float


def find_writer(out: Path) -> Writer | None:
    """Return who writes a folder, None where nobody does, or did and has ended on this machine."""
    try:
        with (out / LOCK).open(encoding="utf-8") as handle:
            owner = _read_owner(handle)
            silent_s = time.time() - os.fstat(handle.fileno()).st_mtime
    except FileNotFoundError:
        return None
    if is_dead(owner):
        return None
    with suppress(FileNotFoundError):
        return Writer(owner, silent_s, time.time() - (out / MARKER).stat().st_mtime)
    return Writer(owner, silent_s, silent_s)


def this_owner() -> dict[str, Any]:
    """Return who writes: user, host, process and the time."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in containers
        user = str(os.getuid())
    return {"user": user, "host": socket.gethostname(), "pid": os.getpid(), "since": utc_now()}


def is_dead(owner: dict[str, Any]) -> bool:
    """Tell whether a process of this host has ended; False for other hosts, and where unknown."""
    if owner.get("host") != socket.gethostname():
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def describe_owner(what: object, owner: dict[str, Any], age_s: float) -> str:
    """Return the refusal of a second writer."""
    who = "another process"
    if owner:
        who = "process {pid} of {user} on {host}, since {since}".format(**owner)
    return (
        f"{what} is being written by {who} (last sign of life {max(0.0, age_s):.0f} s ago). Wait "
        f"until it ends, or end it. If its machine is gone, the folder is free {STALE_S:.0f} s "
        "after the last sign of life."
    )


def _touch_at_progress(file: Path) -> Callable[[], None]:
    """Return what touches a file where the process has gone on since it was last called."""
    seen = pulse.count

    def touch() -> None:
        nonlocal seen
        if pulse.count != seen:
            seen = pulse.count
            os.utime(file)

    return touch


def _take(lock: Path, what: object) -> TextIO:
    """Return the lock's file, open and locked."""
    while True:
        handle = lock.open("a+", encoding="utf-8")
        is_locked = _lock_now(handle)
        owner = _read_owner(handle)
        deadline = time.monotonic() + _NAME_S
        while is_locked is False and not owner and time.monotonic() < deadline:
            time.sleep(0.02)  # its holder is about to write who it is
            owner = _read_owner(handle)
        with suppress(FileNotFoundError):
            found = lock.stat()
            if found.st_ino == os.fstat(handle.fileno()).st_ino:
                age_s = time.time() - found.st_mtime
                is_here = owner.get("host") == socket.gethostname()
                if is_locked is not False:
                    ended = is_here if is_locked else is_dead(owner)
                    if not owner or ended or age_s > STALE_S:
                        return handle
                if is_locked is not False or not (is_dead(owner) and age_s > STALE_S):
                    handle.close()
                    raise ValueError(describe_owner(what, owner, age_s))
                lock.unlink(missing_ok=True)  # a child of the dead holder keeps it locked
        handle.close()  # its holder has just removed it


def _lock_now(handle: TextIO) -> bool | None:
    """Lock a file unless another process has; None where the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _read_owner(handle: TextIO) -> dict[str, Any]:
    handle.seek(0)
    try:
        owner = json.loads(handle.read())
        return dict(owner) if {"user", "host", "pid", "since"} <= owner.keys() else {}
    except (ValueError, AttributeError, RecursionError):
        return {}


def _refuse_place(out: Path, keep: Sequence[str | Path | None]) -> None:
    """Refuse the current directory, home, a root, and what holds them or the command's inputs."""
    target = out.resolve()
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file, and a folder is written there. Choose another.")
    for name, path in (("the current directory", Path.cwd()), ("your home", Path.home())):
        if path.resolve().is_relative_to(target):
            which = "is" if path.resolve() == target else "holds"
            raise ValueError(
                f"{out} {which} {name}, and a command writes into a folder of its own. "
                "Choose a folder below it."
            )
    for given in keep:
        if given is not None and Path(given).exists():
            if Path(given).resolve().is_relative_to(target):
                raise ValueError(
                    f"{out} holds {given}, which this command reads. Choose another folder."
                )


def _refuse_kind(out: Path, kind: str, *, unless_locked: bool = False) -> None:
    """Refuse a folder that holds files, unless it was written as this kind.

    With `unless_locked` a folder that a process may be writing is left to the lock: it may not
    have its marker yet.
    """
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    marker = read_marker(out)
    if marker.get("kind") == kind or names <= {MARKER, LOCK}:
        return
    if unless_locked and (out / LOCK).exists():
        return
    if not marker and any(names.issuperset(ours) for ours in _UNMARKED.get(kind, ())):
        return
    others = f"other files ({', '.join(sorted(names)[:3])})"
    held = _WORDS.get(marker["kind"], f"a {marker['kind']}") if marker else others
    raise ValueError(
        f"{out} holds {held}, and this command writes {_WORDS.get(kind, f'a {kind}')} there. "
        "Choose another folder, or move what it holds away."
    )


def _holds_more(out: Path) -> bool:
    """Tell whether a folder holds more than a marker and a lock."""
    return out.is_dir() and any(path.name not in (MARKER, LOCK) for path in out.iterdir())
