"""One writer of a run in an object store, by Lamport's bakery algorithm over objects.

pyarrow has no conditional writes, but object stores list what was written before, always. Who
wants to write says so, takes the number after the highest there is, and waits until all others
that are about to have theirs; the lowest number writes, any other is refused at once. A ticket
that was not renewed for a minute is of a process that is gone. Ages come from the store's clock.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

from scpo.files.buckets import RemoteFolder
from scpo.files.output_folder import STALE_S, describe_owner, heartbeat, is_dead, this_owner
from scpo.text.json_text import load_json

FOLDER = "writers"
_PAUSE_S = 0.2


@contextmanager
def one_remote_writer(run: RemoteFolder) -> Iterator[None]:
    """Hold a run in an object store.

    Raises:
        ValueError: Another process holds it; the message says who, and since when.
        OSError: The store does not answer or refuses.
    """
    tickets, token = run / FOLDER, uuid4().hex[:12]
    owner = json.dumps(this_owner()).encode()
    wish, mine = f"wish-{token}.lock", None
    try:
        tickets.write(wish, owner)
        number = 1 + max(map(_number_of, _fresh(tickets)), default=0)
        mine = f"{number:08d}-{token}.lock"
        tickets.write(mine, owner)
        tickets.remove(wish)
        found = _fresh(tickets)
        while any(name.startswith("wish-") for name in found):
            time.sleep(_PAUSE_S)
            tickets.write(mine, owner)  # so that a wish of a process gone grows old
            found = _fresh(tickets)
        for first in sorted(found)[: sorted(found).index(mine)]:
            owner_there = _read_owner(tickets, first)
            if not is_dead(owner_there):
                raise ValueError(describe_owner(run.uri, owner_there, found[first]))
            tickets.remove(first)
        with heartbeat(lambda: tickets.write(mine, owner)):
            yield
    finally:
        with suppress(OSError):
            for name in filter(None, (wish, mine)):
                tickets.remove(name)


def _fresh(tickets: RemoteFolder) -> dict[str, float]:
    """Return seconds since each ticket and wish was written, but for those of processes gone.

    The newest is now: the caller has just written its own.
    """
    written = tickets.written()
    now = max(written.values())
    return {name: now - at for name, at in written.items() if now - at <= STALE_S}


def _number_of(name: str) -> int:
    head = name.partition("-")[0]
    return int(head) if head.isdigit() else 0


def _read_owner(tickets: RemoteFolder, name: str) -> dict[str, Any]:
    try:
        return dict(load_json(tickets.read(name)))
    except (FileNotFoundError, ValueError):
        return {}
