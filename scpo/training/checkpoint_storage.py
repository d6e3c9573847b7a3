"""Where the checkpoints of a training lie: `step-N` in a shared folder, or in an object store.

In a shared folder a checkpoint is written beside and renamed. An object store has no rename and
nodes share no disk, so every rank copies what it wrote and the manifest comes last; to resume,
each node fetches the checkpoint once.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from scpo.files.atomic import sync_file, sync_folder, write_json, write_text
from scpo.files.buckets import (
    MANIFEST,
    RemoteFolder,
    files_below,
    local_copy,
    put_files,
    remove_place,
)
from scpo.files.places import Place, is_remote

DAMAGED = "damaged"
REASON = "reason.txt"
_WHOLE = re.compile(r"step-\d{8}")
_OURS = re.compile(rf"{_WHOLE.pattern}|\.{_WHOLE.pattern}(\.removed)?\.partial|{DAMAGED}")


def open_steps(place: Place) -> "Steps":
    """Return the checkpoints of a place."""
    return (
        _RemoteSteps(RemoteFolder(str(place))) if is_remote(place) else _SharedSteps(Path(place))
    )


def remove_checkpoints(place: Place) -> None:
    """Remove all checkpoints and their folder; a kill in between leaves it to the next start."""
    if not is_remote(place):
        steps = _SharedSteps(Path(place))
        for name in steps.names():
            steps.remove(name)
    remove_place(place)


def refuse_other_folder(folder: Path) -> None:
    """Refuse a folder for checkpoints that holds anything else: it is removed in the end.

    Raises:
        ValueError: It does.
    """
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    others = [name for name in names if not _OURS.fullmatch(name)]
    others += [
        name
        for name in names
        if _WHOLE.fullmatch(name)
        and not ((folder / name / MANIFEST).exists() or any((folder / name).glob("random-rank-*")))
    ]
    if others or folder.is_file():
        raise ValueError(
            f"{folder} is for the checkpoints of this training, but holds "
            f"{', '.join(sorted(others)[:3]) or 'a file'}. Move it away, or choose another --out."
        )


class _SharedSteps:
    """Checkpoints by name, `step-N`, in a folder that every rank reaches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """Return the names of whole checkpoints, newest first."""
        return sorted((path.name for path in self.folder.glob("step-*")), reverse=True)

    @contextmanager
    def writing(self, name: str, rank: int) -> Iterator[Path]:
        """Give the folder in which a rank writes; rank 0 makes a shared one."""
        partial = self.folder / f".{name}.partial"
        if rank == 0:
            for leftover in self.folder.glob(".step-*.partial"):
                shutil.rmtree(leftover)
            partial.mkdir(parents=True)
        yield partial

    def keep(self, name: str, folder: Path, rank: int, num_ranks: int) -> list[str]:
        """Make a rank's share of the files durable, and return their names."""
        mine = files_below(folder)[rank::num_ranks]
        for each in mine:
            sync_file(folder / each)
        return mine

    def finish(self, name: str, folder: Path, manifest: dict[str, Any]) -> None:
        """Make the checkpoint whole; rank 0 calls, when every rank has kept its share."""
        write_json(folder / MANIFEST, manifest)
        if (self.folder / name).exists():
            self.remove(name)
        folder.replace(self.folder / name)
        sync_folder(self.folder)

    def fetch(self, name: str) -> Path:
        """Return a folder of this node with the checkpoint; ValueError where it is damaged."""
        return self.folder / name

    def release(self, folder: Path) -> None:
        """Let go of a fetched folder, here the checkpoint itself; no rank reads it any more."""

    def set_aside(self, name: str, reason: str) -> None:
        """Hide a damaged checkpoint from `names`; rank 0 calls."""
        target = self.folder / DAMAGED / name
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(exist_ok=True)
        (self.folder / name).replace(target)
        write_text(target / REASON, reason)

    def remove(self, name: str) -> None:
        """Remove a checkpoint, which is never whole by name and part by content; rank 0 calls."""
        leftover = self.folder / f".{name}.removed.partial"
        (self.folder / name).replace(leftover)
        shutil.rmtree(leftover)


class _RemoteSteps:
    """The same in an object store; every rank writes to a folder of its own first."""

    def __init__(self, folder: RemoteFolder) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        found = {name.partition("/")[0] for name in self.folder.names() if name.endswith(MANIFEST)}
        return sorted((name for name in found if name.startswith("step-")), reverse=True)

    @contextmanager
    def writing(self, name: str, rank: int) -> Iterator[Path]:
        if rank == 0:
            self.remove(name)
        with tempfile.TemporaryDirectory(prefix="scpo-checkpoint-") as scratch:
            yield Path(scratch)

    def keep(self, name: str, folder: Path, rank: int, num_ranks: int) -> list[str]:
        mine = files_below(folder)
        put_files(folder, mine, self.folder / name)
        return mine

    def finish(self, name: str, folder: Path, manifest: dict[str, Any]) -> None:
        write_json(folder / MANIFEST, manifest)
        (self.folder / name).put(folder / MANIFEST, MANIFEST)

    def fetch(self, name: str) -> Path:
        return local_copy((self.folder / name).uri)

    def release(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def set_aside(self, name: str, reason: str) -> None:
        (self.folder / DAMAGED).write(f"{name}-{REASON}", reason.encode())
        (self.folder / name).remove(MANIFEST)

    def remove(self, name: str) -> None:
        (self.folder / name).remove_all()


Steps: TypeAlias = _SharedSteps | _RemoteSteps
