"""Folders of an object store (s3://, gs://) where a cluster has no shared file system.

An object appears whole or not at all, but a folder does not: `put_folder` writes MANIFEST.json,
with size and sha256 of every file, last, and `local_copy` takes only what a manifest names, once
a node. Credentials come from the machine (environment, files or instance role), never from a URI.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from pyarrow.fs import FileSelector, LocalFileSystem, copy_files

from scpo.files.atomic import atomic_folder, atomic_path, hash_file
from scpo.files.places import Place, first_line, home, is_remote, open_store
from scpo.files.pulse import pulse

MANIFEST = "MANIFEST.json"
_THREADS = 8
_CHUNK_BYTES = 8 * 2**20
_LOCAL = LocalFileSystem()
_VERIFIED: set[Path] = set()  # fetched folders, by this process


def remove_place(place: Place) -> None:
    """Remove a folder or URI and all in it; a missing one is not an error."""
    if is_remote(place):
        RemoteFolder(str(place)).remove_all()
    else:
        shutil.rmtree(place, ignore_errors=True)


@dataclass(frozen=True)
class RemoteFolder:
    """A folder of an object store, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER.

    Names of files are relative to it.

    Raises:
        ValueError: It is no such URI, or carries credentials or options.
        OSError: Every method, where the store does not answer or refuses; the message says which
            folder and what to look at.
    """

    uri: str

    def __post_init__(self) -> None:
        if not is_remote(self.uri) or not self.uri.split("://")[1].strip("/"):
            raise ValueError(f"Must be s3://BUCKET/FOLDER or gs://BUCKET/FOLDER: {self.uri!r}.")
        if any(sign in self.uri for sign in "@?#"):
            raise ValueError(
                "A URI must carry no credentials or options, because it stands in logs and "
                f"records, but got one with them for {self.uri.split('://')[0]}://. Set "
                "AWS_ENDPOINT_URL, AWS_REGION and the like in the environment."
            )

    def __truediv__(self, name: str) -> "RemoteFolder":
        return RemoteFolder(f"{self.uri.rstrip('/')}/{name}")

    def read(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            FileNotFoundError: There is none of this name.
        """
        with self._asked("read") as (system, root):
            with system.open_input_stream(f"{root}/{name}") as stream:
                return bytes(stream.read())

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        with self._asked("written") as (system, root):
            with system.open_output_stream(f"{root}/{name}") as stream:
                stream.write(content)

    def put(self, path: Path, name: str) -> None:
        """Copy a local file to `name`."""
        with self._asked("written") as (system, root):
            copy_files(str(path), f"{root}/{name}", _LOCAL, system, chunk_size=_CHUNK_BYTES)
        pulse.beat()

    def get(self, name: str, path: Path) -> None:
        """Copy a file to a local path, whole or not at all."""
        with atomic_path(path) as temporary, self._asked("read") as (system, root):
            copy_files(f"{root}/{name}", str(temporary), system, _LOCAL, chunk_size=_CHUNK_BYTES)
        pulse.beat()

    def names(self) -> list[str]:
        """Return the names of all files below, sorted."""
        return sorted(self.written())

    def written(self) -> dict[str, float]:
        """Return when each file below was written, in seconds of the store's clock."""
        with self._asked("listed") as (system, root):
            selector = FileSelector(root, recursive=True, allow_not_found=True)
            files = [info for info in system.get_file_info(selector) if info.is_file]
        return {info.path[len(root) + 1 :]: info.mtime.timestamp() for info in files}

    def remove(self, name: str) -> None:
        """Remove a file; a missing one is not an error."""
        with suppress(FileNotFoundError), self._asked("written") as (system, root):
            system.delete_file(f"{root}/{name}")

    def remove_all(self) -> None:
        """Remove the folder and all in it, its manifest first."""
        self.remove(MANIFEST)
        with self._asked("written") as (system, root):
            system.delete_dir_contents(root, missing_dir_ok=True)

    @contextmanager
    def _asked(self, done: str) -> Iterator[tuple[Any, str]]:
        """Give pyarrow's file system and path; its errors are raised again with the URI."""
        try:
            scheme, _, path = self.uri.rstrip("/").partition("://")
            yield _open(scheme, path.partition("/")[0]), path
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self.uri}: {first_line(error)}") from error
        except OSError as error:
            raise OSError(
                f"{self.uri} must be {done}, but got: {first_line(error)} Check the bucket's "
                "name, this node's credentials and network, and AWS_ENDPOINT_URL if it is set."
            ) from error


def put_folder(folder: Path, remote: RemoteFolder) -> bytes:
    """Replace a remote folder by a local one; the manifest is written last, and returned."""
    files = describe_files(folder, files_below(folder))
    remote.remove_all()
    put_files(folder, files, remote)
    manifest = json.dumps({"files": files}, sort_keys=True).encode()
    remote.write(MANIFEST, manifest)
    return manifest


def put_files(folder: Path, names: Iterable[str], remote: RemoteFolder) -> None:
    """Copy some files of a local folder to a remote one, eight at a time."""
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(lambda name: remote.put(folder / name, name), names))


def get_files(remote: RemoteFolder, files: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Copy some files of a remote folder, eight at a time, and verify the `sha256` of each.

    Raises:
        ValueError: One has other bytes than were written, or a name leads out of the folder.
    """

    def get(name: str) -> None:
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{remote.uri}: {name!r} leads out of the folder.")
        remote.get(name, folder / name)
        if hash_file(folder / name) != files[name]["sha256"]:
            (folder / name).unlink()
            raise ValueError(f"{remote.uri}/{name} has other bytes than were written.")

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(get, files))


def files_below(folder: Path) -> list[str]:
    """Return the names of all files in a local folder, sorted; its manifest is none of them."""
    found = (path for path in folder.rglob("*") if path.is_file())
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    return [name for name in names if name != MANIFEST]


def describe_files(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return size and sha256 of files by name, as manifests hold them."""
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": hash_file(folder / name)}
        for name in names
    }


def local_copy(uri: str) -> Path:
    """Return a folder of this node with what `put_folder` wrote to a URI, fetched at most once.

    Raises:
        FileNotFoundError: It is not there, or not whole.
        ValueError: It is damaged.
        OSError: The store does not answer, or this node's disk is full.
    """
    remote = RemoteFolder(uri)
    try:
        manifest = remote.read(MANIFEST)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{uri} is not there, or not whole: no {MANIFEST}.") from error
    try:
        files = json.loads(manifest)["files"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{uri}/{MANIFEST} is damaged.") from error
    with _locked_copy(uri, manifest) as target:
        if target.is_dir() and not _is_sound(target, files):
            target.rename(target.with_name(f"{target.name}.damaged-{uuid4().hex[:8]}"))
        if not target.is_dir():
            with atomic_folder(target, "fetched") as temporary:
                get_files(remote, files, temporary)
                (temporary / MANIFEST).write_bytes(manifest)
    return target


def keep_copy(folder: Path, uri: str, manifest: bytes) -> None:
    """Let this node's processes find a folder that lies at a URI too without fetching it."""
    with _locked_copy(uri, manifest) as target:
        if not target.is_dir():
            with atomic_folder(target, "fetched") as temporary:
                shutil.copytree(folder, temporary, copy_function=_copy, dirs_exist_ok=True)
                (temporary / MANIFEST).write_bytes(manifest)


def _copy(source: str, to: str) -> None:
    """Copy a file; weights, which nothing changes in place, take no room twice."""
    if source.endswith(".safetensors"):
        with suppress(OSError):  # another disk
            os.link(source, to)
            return
    shutil.copyfile(source, to)


@contextmanager
def _locked_copy(uri: str, manifest: bytes) -> Iterator[Path]:
    """Yield where this node keeps its copy of a remote folder; one process at a time."""
    target = home() / "fetched" / hashlib.sha256(uri.encode() + b"\0" + manifest).hexdigest()[:32]
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield target


def _is_sound(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether a fetched folder still has the bytes of its manifest; asked once a process."""
    if folder not in _VERIFIED:
        try:
            found = describe_files(folder, files)
        except OSError:
            return False
        if {name: held["sha256"] for name, held in found.items()} != {
            name: held["sha256"] for name, held in files.items()
        }:
            return False
        _VERIFIED.add(folder)
    return True


@contextmanager
def written_to(place: Place) -> Iterator[Path]:
    """Yield a folder to write to; for a URI it is copied there when the block ends well.

    Yields:
        The place itself where it is local, else the path of a folder to create.
    """
    if not is_remote(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="scpo-") as scratch:
        folder = Path(scratch) / str(place).rstrip("/").rpartition("/")[2]
        yield folder
        put_folder(folder, RemoteFolder(str(place)))


@cache
def _open(scheme: str, bucket: str) -> Any:
    """Return pyarrow's file system for a bucket.

    Raises:
        OSError: Nothing answers for an S3 bucket within seconds; any answer will do.
    """
    uri = f"{scheme}://{bucket}"
    if scheme == "s3":
        quick, path = open_store(uri)
        try:
            quick.get_file_info(path)
        except OSError as error:
            if "NETWORK_CONNECTION" in str(error):
                raise
    return open_store(uri, attempts=None)[0]
