"""The journal of a run's studies: a file that one process writes and anybody may read.

Optuna's own backend lets many processes write: it opens, locks, syncs and reads the file at every
entry, some 50 calls a trial, which a slow disk makes long. Here only the driver writes, under the
run's lock, and a journal is made again from the ledger at every start: nothing has to be synced.
"""

import json
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

JOURNAL = "optuna.journal"  # in a run's folder


def new_storage(run: Path) -> JournalStorage:
    """Return the empty storage of a run's studies, in place of an older one."""
    journal = run / JOURNAL
    for file in (journal, *run.glob(f"{journal.name}.lock*")):  # locks of older versions
        file.unlink(missing_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return JournalStorage(_OneWriter(journal))


class _OneWriter(BaseJournalBackend):
    """Appends to a new file, in the form of Optuna's `JournalFileBackend`."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("ab", buffering=0)  # others may add notes
        weakref.finalize(self, self._file.close)  # a storage has no end of its own
        self._lines: deque[bytes] = deque()  # written, and not read yet
        self._num_read = 0

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = [json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs]
        left = memoryview(b"".join(lines))
        while left:  # a disk that fills up takes a part, then refuses the rest
            left = left[self._file.write(left) :]
        self._lines += lines

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return entries from a number on, which must be the first not read yet.

        Raises:
            RuntimeError: It is another; only one storage may read them.
        """
        if log_number_from != self._num_read:
            raise RuntimeError(f"Entry {self._num_read} comes next, not {log_number_from}.")
        return self._take()

    def _take(self) -> Iterator[dict[str, Any]]:
        while self._lines:
            self._num_read += 1
            yield json.loads(self._lines.popleft())
