"""Runs as a job of its own on the cluster: packs a run's folder and prints it as text.

It needs only the standard library, because this file travels alone. What it prints
are lines that begin with PREFIX: a header with the size and sha256 of the archive, then base64.
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

PREFIX = "SCPO-PACK "
LINE_BYTES = 9000  # 12 000 characters of base64; Ray cuts longer lines at 20 000


def pack(folder: Path, archive: BinaryIO, left_out: Sequence[str]) -> int:
    """Write the folder's files into a gzipped tar archive, and return how many they are.

    Args:
        folder: The run's folder.
        archive: File to write to.
        left_out: Patterns of paths relative to the folder; what lies below one stays too.
    """
    num_files = 0
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=6) as tar:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if path.is_file() and not path.is_symlink() and not is_left_out(name, left_out):
                tar.add(path, arcname=name.as_posix(), recursive=False)
                num_files += 1
    return num_files


def is_left_out(name: PurePath, left_out: Sequence[str]) -> bool:
    """Tell whether a relative path, or a folder that it lies in, matches one of the patterns."""
    heads = [name, *name.parents][:-1]
    return any(fnmatch(head.as_posix(), pattern) for head in heads for pattern in left_out)


def print_archive(archive: BinaryIO, num_files: int, max_bytes: int) -> None:
    """Print the archive as lines of text, or that it is too large."""
    size = archive.seek(0, 2)
    archive.seek(0)
    header: dict[str, Any] = {"size": size, "num_files": num_files}
    if size > max_bytes:
        print(PREFIX + json.dumps(header | {"too_large": max_bytes}), flush=True)
        return
    digest = hashlib.sha256()
    while block := archive.read(2**20):
        digest.update(block)
    archive.seek(0)
    print(PREFIX + json.dumps(header | {"sha256": digest.hexdigest()}))
    while block := archive.read(LINE_BYTES):
        print(PREFIX + base64.b64encode(block).decode())
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> None:
    """Pack a folder: its path, the most bytes, and the patterns of what stays."""
    folder, max_bytes, *left_out = arguments
    if not Path(folder).is_dir():
        print(PREFIX + json.dumps({"missing": folder}), flush=True)
        return
    with tempfile.TemporaryFile() as archive:
        num_files = pack(Path(folder), archive, left_out)
        print_archive(archive, num_files, int(max_bytes))


if __name__ == "__main__":
    main(sys.argv[1:])
