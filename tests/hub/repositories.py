"""Models and data sets of the hub in a folder, each with its commits, branches and tags.

    ROOT/models/OWNER/NAME/repository.json      gated, refs, commits (the newest first)
    ROOT/models/OWNER/NAME/COMMIT/config.json   one folder a commit
    ROOT/datasets/OWNER/NAME/...

Any process that serves the folder sees a new commit at once.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["models", "datasets"]
LARGE_FILES = (".safetensors", ".bin", ".jsonl", ".csv")  # kept by git-lfs, as on the hub


@dataclass(frozen=True)
class StoredFile:
    """One file of a commit.

    Attributes:
        path: Where it stands in the repository.
        content: Its bytes.
    """

    path: str
    content: bytes

    @property
    def is_large(self) -> bool:
        return self.path.endswith(LARGE_FILES)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def etag(self) -> str:
        """sha256 of a large file; git's own hash of any other."""
        if self.is_large:
            return self.sha256
        return _hash_object(b"blob", self.content)

    def entry(self) -> dict[str, Any]:
        """Return what the hub's tree says of it."""
        if not self.is_large:
            return {
                "type": "file",
                "oid": self.etag,
                "size": len(self.content),
                "path": self.path,
            }
        pointer = (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{self.sha256}\nsize {len(self.content)}\n"
        ).encode()
        return {
            "type": "file",
            "oid": _hash_object(b"blob", pointer),
            "size": len(self.content),
            "lfs": {
                "oid": self.sha256,
                "size": len(self.content),
                "pointerSize": len(pointer),
            },
            "path": self.path,
        }


class Repository:
    """One model or data set.

    Attributes:
        name: OWNER/NAME.
        kind: "models" or "datasets".
    """

    def __init__(self, root: Path, kind: Kind, name: str) -> None:
        self.kind, self.name = kind, name
        self._folder = root / kind / name

    def exists(self) -> bool:
        return (self._folder / "repository.json").is_file()

    @property
    def gated(self) -> bool:
        return bool(self._read()["gated"])

    @property
    def commits(self) -> list[str]:
        """Commits, the newest first."""
        return list(self._read()["commits"])

    @property
    def branches(self) -> dict[str, str]:
        """Commit by branch."""
        return dict(self._read()["branches"])

    @property
    def tags(self) -> dict[str, str]:
        """Commit by tag."""
        return dict(self._read()["tags"])

    def publish(
        self,
        files: Mapping[str, bytes],
        *,
        branch: str = "main",
        tag: str | None = None,
        gated: bool = False,
    ) -> str:
        """Add a commit of exactly these files and return it."""
        seen = self._read() if self.exists() else {"commits": [], "branches": {}, "tags": {}}
        listing = "".join(
            f"{path}\0{StoredFile(path, files[path]).etag}" for path in sorted(files)
        )
        parent = seen["branches"].get(branch, "")
        commit = _hash_object(b"commit", f"{self.name}\0{parent}\0{listing}".encode())
        for path, content in files.items():
            place = self._folder / commit / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        seen["commits"] = [commit, *seen["commits"]]
        seen["branches"][branch] = commit
        if tag is not None:
            seen["tags"][tag] = commit
        text = json.dumps(seen | {"gated": gated}, indent=1)
        (self._folder / "repository.json").write_text(text, encoding="utf-8")
        return commit

    def resolve(self, revision: str) -> str | None:
        """Return the commit of a branch, a tag or a commit; None where there is none."""
        seen = self._read()
        named = {**seen["tags"], **seen["branches"]}
        if revision in named:
            return str(named[revision])
        return revision if revision in seen["commits"] else None

    def files(self, commit: str) -> list[StoredFile]:
        """Return the files of a commit, sorted by path."""
        folder = self._folder / commit
        return [
            StoredFile(path.relative_to(folder).as_posix(), path.read_bytes())
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]

    def find(self, commit: str, path: str) -> StoredFile | None:
        """Return one file of a commit; None where there is none."""
        return next((file for file in self.files(commit) if file.path == path), None)

    def _read(self) -> dict[str, Any]:
        text = (self._folder / "repository.json").read_text(encoding="utf-8")
        seen: dict[str, Any] = json.loads(text)
        return seen


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, by path, as `Repository.publish` takes them."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _hash_object(kind: bytes, content: bytes) -> str:
    """Return git's hash of an object."""
    return hashlib.sha1(kind + b" %d\0" % len(content) + content).hexdigest()
