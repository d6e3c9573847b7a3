"""Files that are whole or absent: write beside the target, fsync, rename.

A reader never sees a half-written file, also after a kill or a full disk. Nothing here knows
what a file holds. A folder that is replaced as a whole carries a marker, `.scpo.json`, that lists
its files, so that nothing is replaced that was not written here.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from scpo.files.pulse import pulse

MARKER = ".scpo.json"  # in a folder that a command wrote: kind, format, what it was made from
MARKER_FORMAT = 1
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # which name no file where a write meets them
_HASHES: dict[tuple[int, ...], str] = {}  # of this process, of `hash_once`


@contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` when the block ends well.

    Missing folders are created. When the block raises, `path` is untouched. One that is not
    `durable` waits for no disk: after a power cut it may be as before, or empty.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if durable:
            sync_file(temporary)
        temporary.replace(path)
    except OSError as error:
        if error.errno in _NO_ROOM and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)


@contextmanager
def atomic_folder(out: Path, kind: str = "model") -> Iterator[Path]:
    """Yield a new, empty folder beside `out` that replaces it when the block ends well.

    The old folder is moved aside before and deleted after, so a whole one, old or new, is always
    on disk. Missing parents are created. When the block raises, `out` is untouched.

    Raises:
        ValueError: `out` holds something else than this function wrote there, as `kind`.
    """
    out = out.resolve() if out.is_symlink() else out
    refuse_other_files(out, kind)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        adopt_folder(temporary, kind)
        for path in temporary.rglob("*"):
            (sync_folder if path.is_dir() else sync_file)(path)
        sync_folder(temporary)
        refuse_other_files(out, kind)
        _replace_folder(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def adopt_folder(folder: Path, kind: str = "model") -> None:
    """Mark a folder without a marker, with all of its files, as written here."""
    if not (folder / MARKER).exists():
        files = sorted(_files_below(folder))
        write_json(folder / MARKER, {"kind": kind, "format": MARKER_FORMAT, "files": files})


def refuse_other_files(out: Path, kind: str) -> None:
    """Refuse to replace a folder that holds other files than `atomic_folder` wrote there.

    Raises:
        ValueError: It holds some, was written as another kind, or is a file.
    """
    if out.is_file():
        raise ValueError(f"{out} is a file, and a folder must be written there. Move it away.")
    marker, held = read_marker(out), _files_below(out)
    if not held:
        return
    ours = set(marker.get("files", ())) if marker.get("kind") == kind else set()
    # A card, README.md, is written anew after every evaluation.
    if others := sorted(held - ours - ({MARKER, "README.md"} if ours else set())):
        raise ValueError(
            f"{out} holds {', '.join(others[:3])}{' and more' if len(others) > 3 else ''}, which "
            f"no command wrote there as a {kind}, so the folder is not replaced. Choose another "
            "folder, or move these files away."
        )


def read_marker(folder: Path) -> dict[str, Any]:
    """Return what `.scpo.json` says of a folder; nothing where there is none.

    Raises:
        ValueError: It is damaged, or of a later version.
    """
    return read_versioned(
        folder / MARKER,
        range(1, MARKER_FORMAT + 1),
        "so it does not say what wrote the folder. Move the folder away.",
    )


def read_versioned(file: Path, formats: range, damaged: str) -> dict[str, Any]:
    """Return a JSON object whose `format`, 0 where it says none, is one that is read.

    Nothing where there is nothing. `damaged` says what to do with what is no such object.

    Raises:
        ValueError: It is damaged, or of another version.
    """
    if not os.path.lexists(file):
        return {}
    if not file.is_file():
        raise ValueError(f"{file} is no file, {damaged}")
    try:
        held = dict(json.loads(file.read_text(encoding="utf-8")))
        version, wrote = int(held.get("format", 0)), dict(held.get("versions", {})).get("scpo")
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{file} is damaged, {damaged}") from error
    if version < formats.start:
        raise ValueError(f"{file} is damaged, {damaged}")
    if version not in formats:
        raise ValueError(
            f"{file} is of format {version}, and this version of scpo reads up to "
            f"{formats.stop - 1}. Use a later scpo{f' ({wrote})' if wrote else ''}."
        )
    return held


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN and infinities are refused with ValueError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def may_write_over(path: Path, beginning: str) -> bool:
    """Return whether a path holds nothing of somebody else's: no file, an empty one, or ours.

    Ours are text files that start with `beginning`.
    """
    if not path.exists():
        return True
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(len(beginning)) in ("", beginning)


def hash_name(name: str) -> str:
    """Return 10 hexadecimal digits that tell a name from others, in whatever letters it is."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]


def refuse_endless(path: Path) -> None:
    """Refuse a pipe or a device, which would be read without end, and a folder.

    Raises:
        ValueError: It is one.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file, but a folder, a pipe or a device. Put a file there.")


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 hexadecimal digits.

    Raises:
        ValueError: It is a folder, a pipe or a device.
    """
    refuse_endless(path)
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    pulse.beat()
    return digest


def hash_once(path: Path) -> str:
    """Return `hash_file`, computed once in a process while the file stays as it is.

    Another inode, size or time tells another file: one that is moved is not read again.
    """
    found = path.stat()
    key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if key not in _HASHES:
        _HASHES[key] = hash_file(path)
    return _HASHES[key]


def hash_values(values: object) -> str:
    """Return the sha256 of plain values as JSON with sorted keys, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def sync_file(path: Path) -> None:
    """Make a file's bytes durable."""
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files_below(folder: Path) -> set[str]:
    """Return the names of all files, links and empty folders below a folder."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir() or not any(path.iterdir())
    }


def _replace_folder(new: Path, out: Path) -> None:
    """Rename `new` to `out`, an older folder there aside and then away."""
    old = new.with_suffix(".old")
    if out.exists():
        out.rename(old)
    try:
        new.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    sync_folder(out.parent)
    shutil.rmtree(old, ignore_errors=True)
