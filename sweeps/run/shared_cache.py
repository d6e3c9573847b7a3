"""A cache in an object store: fetched part by part into a folder of this node, and given back.

Parts are named by the hash of their bytes, so two nodes never write different parts of one name.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scpo.files.buckets import RemoteFolder, files_below, put_files
from scpo.files.places import Place, home, is_remote

SHARED = "reference"  # rewards; tokens and features are made anew


def local_cache(cache: Place) -> Path:
    """Return this node's folder of a cache: the cache itself, or the local copy of a URI."""
    if not is_remote(cache):
        return Path(cache)
    return home() / "caches" / hashlib.sha256(str(cache).encode()).hexdigest()[:16]


@contextmanager
def shared_cache(cache: Place) -> Iterator[Path]:
    """Give this node's folder of a cache, with the parts that a URI holds; new ones are copied.

    Raises:
        OSError: The store does not answer or refuses.
    """
    folder = local_cache(cache)
    if not is_remote(cache):
        yield folder
        return
    remote = RemoteFolder(str(cache).rstrip("/")) / SHARED
    there, here = set(remote.names()), set(files_below(folder / SHARED))
    for name in sorted(name for name in there - here if Path(name).name.startswith("part-")):
        remote.get(name, folder / SHARED / name)
    try:
        yield folder
    finally:
        new = set(files_below(folder / SHARED)) - there
        put_files(folder / SHARED, sorted(n for n in new if "quarantine" not in n), remote)
