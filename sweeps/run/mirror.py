"""A run in an object store: a working copy on the driver's node, mirrored to the store.

The driver writes into the working copy. The store gets every record as soon as it is made, and the
other files, under an index with their sha256, when a stage is done, so a run whose node is lost
resumes elsewhere. Workers write models and checkpoints to the store themselves. An object store
cannot append: records are objects of their own until the ledger is written whole.
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
    keep_copy,
    local_copy,
    put_files,
    put_folder,
)
from scpo.files.places import Place, home, is_remote
from sweeps.ledger.end_file import END_NAME
from sweeps.ledger.records import LEDGER_NAME, Ledger
from sweeps.run.bucket_lock import one_remote_writer

_CONFIG = "config.yaml"
_INDEX = "files.json"
RECORDS_FOLDER = "trials"  # records, in objects named by the ledger's line of the first
_NOT_MIRRORED = ("models", "global", "base", "cache", ".tune", ".sharded")  # folders of a run
_ATTEMPTS = 4  # to copy records, before the run continues without
_WAIT_S = 0.5


class Mirror:
    """The working copy of a run, and its folder in an object store, s3://... or gs://...

    Raises:
        ValueError: It is no such URI, or its files are damaged.
        OSError: The store does not answer or refuses.
    """

    def __init__(self, uri: str) -> None:
        self.remote = RemoteFolder(uri.rstrip("/"))
        digest = hashlib.sha256(self.remote.uri.encode()).hexdigest()[:8]
        self.folder = home() / "runs" / f"{self.remote.uri.rpartition('/')[2]}-{digest}"
        self.ledger: MirroredLedger | None = None
        self.pull()

    def pull(self) -> None:
        """Make the working copy equal the store; records that only the copy has stay."""
        try:
            index = json.loads(self.remote.read(_INDEX))
        except FileNotFoundError:
            shutil.rmtree(self.folder, ignore_errors=True)  # of a run that was removed
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        ours = describe_files(self.folder, self._files())
        get_files(self.remote, {k: v for k, v in index.items() if ours.get(k) != v}, self.folder)
        self._pull_ledger()
        trained = self.remote / "global"
        if MANIFEST in trained.names() and not (self.folder / "global").is_dir():
            shutil.copytree(local_copy(trained.uri), self.folder / "global")

    def push(self) -> None:
        """Make the store equal the working copy, but for models and jobs in flight.

        A copy without a configuration is no run, and is not written.
        """
        if not (self.folder / _CONFIG).is_file():
            return
        try:
            there = json.loads(self.remote.read(_INDEX))
        except FileNotFoundError:
            there = {}
        here = describe_files(self.folder, self._files())
        put_files(self.folder, [k for k, v in here.items() if there.get(k) != v], self.remote)
        self.remote.write(_INDEX, json.dumps({**there, **here}, sort_keys=True).encode())
        if self.ledger is not None:
            self.ledger.close()

    def open_ledger(self) -> "MirroredLedger":
        """Return the ledger, whose records go to the store too."""
        self.ledger = MirroredLedger(self.folder, self.remote)
        return self.ledger

    def share_model(self, model: Path) -> str:
        """Return the URI of the global model in the store, written if missing, for workers."""
        own = model.resolve() == (self.folder / "global").resolve()
        target = self.remote / ("global" if own else "base")
        described = describe_files(model, files_below(model))
        try:
            manifest = target.read(MANIFEST)
            same = json.loads(manifest)["files"] == described
        except FileNotFoundError:
            same = False
        if not same:
            manifest = put_folder(model, target)
        keep_copy(model, target.uri, manifest)
        return target.uri

    def fetch_models(self) -> None:
        """Copy the final models into the working copy."""
        for name in {name.partition("/")[0] for name in (self.remote / "models").names()}:
            copy = local_copy((self.remote / "models" / name).uri)
            shutil.copytree(copy, self.folder / "models" / name, dirs_exist_ok=True)

    def _files(self) -> list[str]:
        # Cards of models too, which the driver writes.
        return [
            name
            for name in files_below(self.folder)
            if (name.partition("/")[0] not in _NOT_MIRRORED or _is_card_of_final(name))
            and name not in (LEDGER_NAME, END_NAME)
            and not name.endswith((".tmp", ".lock"))
        ]

    def _pull_ledger(self) -> None:
        """Take the store's records, unless the working copy begins with them."""
        try:
            lines = self.remote.read(LEDGER_NAME).split(b"\n")[:-1]
        except FileNotFoundError:
            lines = []
        single = self.remote / RECORDS_FOLDER
        for name in single.names():
            if int(name.partition(".")[0]) > len(lines):
                lines += single.read(name).split(b"\n")[:-1]
        theirs = b"".join(line + b"\n" for line in lines)
        path = self.folder / LEDGER_NAME
        if not (path.is_file() and path.read_bytes().startswith(theirs)):
            (self.folder / END_NAME).unlink(missing_ok=True)  # of the other ledger
            path.write_bytes(theirs)


class MirroredLedger(Ledger):
    """A ledger in a working copy whose records an object store has too, before an append returns.

    A store that does not answer costs no record: the next append copies those that it lacks.

    Raises:
        OSError: The store does not answer or refuses.
    """

    def __init__(self, folder: Path, remote: RemoteFolder) -> None:
        super().__init__(folder)
        self.remote = remote
        self.num_lines = self.path.read_bytes().count(b"\n") if self.path.is_file() else 0
        self.uncopied: list[bytes] = []
        self.close()

    def close(self) -> None:
        """Write the whole ledger to the store, in place of single records."""
        if self.path.is_file():
            self.remote.put(self.path, LEDGER_NAME)
        (self.remote / RECORDS_FOLDER).remove_all()
        self.uncopied = []

    def _write(self, line: bytes) -> None:
        super()._write(line)
        self.num_lines += 1
        self.uncopied.append(line)
        first = self.num_lines - len(self.uncopied) + 1
        attempts = _ATTEMPTS if len(self.uncopied) == 1 else 1  # the store was down before
        for attempt in range(attempts):
            time.sleep(_WAIT_S * attempt)
            with suppress(OSError):
                (self.remote / RECORDS_FOLDER).write(f"{first:08d}.jsonl", b"".join(self.uncopied))
                self.uncopied = []
                break


def _is_card_of_final(name: str) -> bool:
    """Tell whether a file is the card that an evaluation writes beside a final model."""
    return name.startswith("models/") and name.endswith("/README.md")


@contextmanager
def working_folder(
    place: Place, *, models: bool = False, writes: bool = False
) -> Iterator[tuple[Path, Mirror | None]]:
    """Yield a run's folder, and its mirror where it is remote, which is pushed at the end.

    With `models`, its final models are fetched too; with `writes`, no other process may train
    into a remote one.

    Raises:
        ValueError: As of `Mirror`; or another process trains into it.
        OSError: As of `Mirror`.
    """
    if not is_remote(place):
        yield Path(place), None
        return
    with one_remote_writer(RemoteFolder(str(place))) if writes else nullcontext():
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
