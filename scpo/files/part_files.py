"""Caches of part files, each named by the hash of its bytes, in a folder named by its key.

A damaged part no longer fits its name: it is detected on reading and moved aside. Parts are
written as work goes, whole or not at all, so an interrupted run resumes.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scpo.files.atomic import atomic_path, hash_file, hash_values


def keyed_folder(root: Path, key: Mapping[str, Any]) -> Path:
    """Return the folder of a cache for one set of plain values that shape its content."""
    return root / hash_values(key)[:32]


def find_parts(folder: Path, suffix: str) -> tuple[list[Path], int]:
    """Return the undamaged parts of a folder, and how many damaged ones were moved aside."""
    sound = []
    num_quarantined = 0
    for path in sorted(folder.glob(f"part-*.{suffix}")):
        if hash_file(path)[:16] == path.stem.removeprefix("part-"):
            sound.append(path)
            continue
        quarantine = folder / "quarantine"
        quarantine.mkdir(exist_ok=True)
        path.replace(quarantine / path.name)
        num_quarantined += 1
    return sound, num_quarantined


def write_part(folder: Path, content: bytes, suffix: str) -> None:
    """Write one part under the hash of its bytes."""
    name = f"part-{hashlib.sha256(content).hexdigest()[:16]}.{suffix}"
    with atomic_path(folder / name) as temporary:
        temporary.write_bytes(content)
