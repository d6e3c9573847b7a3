"""Runs as a job on the cluster: packs a run's folder and prints the archive as text.

It imports only the standard library, because this file alone is sent. It prints lines that begin
with ARCHIVE_PREFIX: a JSON header with the size and sha256 of the archive, then base64.
`cluster.jobs.fetch` reads them from the job's log.
"""

import base64
import hashlib
import json
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePath
from typing import Any, BinaryIO

ARCHIVE_PREFIX = "SCPO-PACK "
LINE_BYTES = 9000  # 12 000 characters of base64; Ray cuts lines at 20 000


def pack_and_print(arguments: Sequence[str]) -> None:
    """Pack a folder, and print the archive or why there is none.

    Arguments are the folder's path, most bytes to print, and patterns of paths to leave out.
    """
    folder, max_bytes, *left_out = arguments
    if not Path(folder).is_dir():
        print(ARCHIVE_PREFIX + json.dumps({"missing": folder}), flush=True)
        return
    with tempfile.TemporaryFile() as archive:
        num_files = _pack(Path(folder), archive, left_out)
        _print_archive(archive, num_files, int(max_bytes))


def is_left_out(name: PurePath, left_out: Sequence[str]) -> bool:
    """Return whether a relative path, or a folder above it, matches one of the patterns."""
    heads = [name, *name.parents][:-1]
    return any(fnmatch(head.as_posix(), pattern) for head in heads for pattern in left_out)


def _pack(folder: Path, archive: BinaryIO, left_out: Sequence[str]) -> int:
    """Write the folder's files into a gzipped tar archive, and return how many they are."""
    num_files = 0
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=6) as tar:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if path.is_file() and not path.is_symlink() and not is_left_out(name, left_out):
                tar.add(path, arcname=name.as_posix(), recursive=False)
                num_files += 1
    return num_files


def _print_archive(archive: BinaryIO, num_files: int, max_bytes: int) -> None:
    size = archive.seek(0, 2)
    archive.seek(0)
    header: dict[str, Any] = {"size": size, "num_files": num_files}
    if size > max_bytes:
        print(ARCHIVE_PREFIX + json.dumps(header | {"too_large": max_bytes}), flush=True)
        return
    header["sha256"] = hashlib.sha256(archive.read()).hexdigest()
    archive.seek(0)
    print(ARCHIVE_PREFIX + json.dumps(header))
    while block := archive.read(LINE_BYTES):
        print(ARCHIVE_PREFIX + base64.b64encode(block).decode())
    sys.stdout.flush()


if __name__ == "__main__":
    pack_and_print(sys.argv[1:])
