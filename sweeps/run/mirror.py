"""A run in an object store: a working copy on the driver's node, and its twin there.

All that a run's driver writes goes into the working copy first. The twin has every record as soon
as it is made, and the other files under an index with their sha256 when a stage is done, so a run
whose node is lost goes on elsewhere. Models and checkpoints are written there by the workers.
An object store cannot append: records are objects of their own until the ledger is put whole.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from scpo.files.buckets import (
    MANIFEST,
    RemoteFolder,
    describe_files,
    files_below,
    get_files,
    local_copy,
    put_files,
    put_folder,
)
from scpo.files.places import Place, home, is_remote
from sweeps.ledger.records import LEDGER_NAME, Ledger

CONFIG = "config.yaml"
CARD = "/README.md"
INDEX = "files.json"
SEGMENTS = "trials"  # a record each, named by its line in the ledger
NOT_MIRRORED = ("models", "global", "base", "cache", ".tune", ".sharded")  # folders of a run
ATTEMPTS = 4  # to copy records, before the run goes on without
WAIT_S = 0.5


class Mirror:
    """The working copy of a run, and its twin.

    Args:
        uri: Where the twin is, as s3://BUCKET/FOLDER or gs://BUCKET/FOLDER.

    Raises:
        ValueError: It is no such URI, or what is there is damaged.
        OSError: The store does not answer or refuses.
    """

    def __init__(self, uri: str) -> None:
        self.remote = RemoteFolder(uri.rstrip("/"))
        digest = hashlib.sha256(self.remote.uri.encode()).hexdigest()[:8]
        self.folder = home() / "runs" / f"{self.remote.uri.rpartition('/')[2]}-{digest}"
        self.ledger: MirroredLedger | None = None
        self.pull()

    def pull(self) -> None:
        """Make the working copy what the twin is; records that only the copy has stay."""
        try:
            index = json.loads(self.remote.read(INDEX))
        except FileNotFoundError:
            shutil.rmtree(self.folder, ignore_errors=True)  # of a run that is no more
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        ours = describe_files(self.folder, self._files())
        get_files(self.remote, {k: v for k, v in index.items() if ours.get(k) != v}, self.folder)
        self._pull_ledger()
        trained = self.remote / "global"
        if MANIFEST in trained.names() and not (self.folder / "global").is_dir():
            shutil.copytree(local_copy(trained.uri), self.folder / "global")

    def push(self) -> None:
        """Make the twin what the working copy is, less models and what is in flight.

        A copy without a configuration is of no run, and is not put anywhere.
        """
        if not (self.folder / CONFIG).is_file():
            return
        try:
            there = json.loads(self.remote.read(INDEX))
        except FileNotFoundError:
            there = {}
        here = describe_files(self.folder, self._files())
        put_files(self.folder, [k for k, v in here.items() if there.get(k) != v], self.remote)
        self.remote.write(INDEX, json.dumps({**there, **here}, sort_keys=True).encode())
        if self.ledger is not None:
            self.ledger.close()

    def open_ledger(self) -> "MirroredLedger":
        """Return the ledger, whose records go to the twin too."""
        self.ledger = MirroredLedger(self.folder, self.remote)
        return self.ledger

    def share_model(self, model: Path) -> str:
        """Return the URI of the global model, put there unless it is, for workers to fetch."""
        own = model.resolve() == (self.folder / "global").resolve()
        target = self.remote / ("global" if own else "base")
        described = describe_files(model, files_below(model))
        try:
            same = json.loads(target.read(MANIFEST))["files"] == described
        except FileNotFoundError:
            same = False
        if not same:
            put_folder(model, target)
        return target.uri

    def fetch_models(self) -> None:
        """Copy the final models into the working copy."""
        for name in {name.partition("/")[0] for name in (self.remote / "models").names()}:
            copy = local_copy((self.remote / "models" / name).uri)
            shutil.copytree(copy, self.folder / "models" / name, dirs_exist_ok=True)

    def _files(self) -> list[str]:
        """Return the names of the files that are mirrored as they are, models' cards too."""
        return [
            name
            for name in files_below(self.folder)
            if (name.partition("/")[0] not in NOT_MIRRORED or name.endswith(CARD))
            and name != LEDGER_NAME
            and not name.endswith(".tmp")
        ]

    def _pull_ledger(self) -> None:
        """Take the twin's records, unless the working copy goes on from them."""
        try:
            lines = self.remote.read(LEDGER_NAME).split(b"\n")[:-1]
        except FileNotFoundError:
            lines = []
        segments = self.remote / SEGMENTS
        for name in segments.names():
            if int(name.partition(".")[0]) > len(lines):
                lines += segments.read(name).split(b"\n")[:-1]
        theirs = b"".join(line + b"\n" for line in lines)
        path = self.folder / LEDGER_NAME
        if not (path.is_file() and path.read_bytes().startswith(theirs)):
            path.write_bytes(theirs)


class MirroredLedger(Ledger):
    """A ledger whose records are objects of a store too, before an append returns.

    A store that does not answer costs no record: they stay in the file, and go with the next.

    Args:
        folder: The working copy.
        remote: Its twin; the ledger is put there whole, in place of single records.

    Raises:
        OSError: The store does not answer or refuses.
    """

    def __init__(self, folder: Path, remote: RemoteFolder) -> None:
        super().__init__(folder)
        self.remote = remote
        self.num_lines = self.path.read_bytes().count(b"\n") if self.path.is_file() else 0
        self.waiting: list[bytes] = []
        self.close()

    def close(self) -> None:
        """Put the whole ledger in place of single records."""
        if self.path.is_file():
            self.remote.put(self.path, LEDGER_NAME)
        (self.remote / SEGMENTS).remove_all()
        self.waiting = []

    def _write(self, line: bytes) -> None:
        """Add a line to the file, and copy it and what waits as one object named by its number."""
        super()._write(line)
        self.num_lines += 1
        self.waiting.append(line)
        first = self.num_lines - len(self.waiting) + 1
        attempts = ATTEMPTS if len(self.waiting) == 1 else 1  # else the store is known to be down
        for attempt in range(attempts):
            time.sleep(WAIT_S * attempt)
            with suppress(OSError):
                (self.remote / SEGMENTS).write(f"{first:08d}.jsonl", b"".join(self.waiting))
                self.waiting = []
                break


@contextmanager
def working_folder(place: Place, *, models: bool = False) -> Iterator[tuple[Path, Mirror | None]]:
    """Give a run's folder, and its mirror where it is remote; what was written is put there.

    Args:
        place: Folder or URI of the run.
        models: Fetch its final models too.

    Raises:
        ValueError: As of `Mirror`.
        OSError: As of `Mirror`.
    """
    if not is_remote(place):
        yield Path(place), None
        return
    mirror = Mirror(str(place))
    if models:
        mirror.fetch_models()
    ended_well = False
    try:
        yield mirror.folder, mirror
        ended_well = True
    finally:
        with nullcontext() if ended_well else suppress(OSError):
            mirror.push()
