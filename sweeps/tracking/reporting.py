"""The trackers of a sweep while it runs: each takes records in a thread of its own.

The sweep only puts a record into a queue. A tracker that raises is left out, and one that stops
answering is not waited for: either is said in one line, and costs the sweep nothing. What a
tracker missed, `scpo track` or `--resume` sends.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from scpo.files.output_folder import one_writer
from sweeps.ledger.records import Ledger, TrialRecord
from sweeps.tracking.delivery import Delivery, Told, check_installed, lock_of, result_files

_PATIENCE_S = 30.0  # at the end, for a tracker that takes nothing
_MOST_S = 300.0  # at the end, for one that takes something
_STOPPED_S = 5.0  # where the sweep was stopped
_STEP_S = 0.05


@dataclass(frozen=True)
class _End:
    """The last thing in a queue."""

    files: Sequence[Path]
    finished: bool


class Reporting(AbstractContextManager["Reporting"]):
    """Sends what enters a ledger to trackers; a context around the sweep.

    Args:
        names: The trackers'.
        folder: Of the run.
        say: Takes a line.

    Raises:
        RuntimeError: A package is not installed.
        ValueError: Another process sends this run to one of the trackers.
    """

    def __init__(self, names: Sequence[str], folder: Path, say: Callable[[str], None]) -> None:
        check_installed(names)
        self.names = names
        self.folder = folder
        self.say = say
        self.couriers: list[Courier] = []
        self.locks = ExitStack()

    def listen(self, ledger: Ledger) -> None:
        """Send the records of a ledger that trackers lack, and every one that comes."""
        for name in self.names:
            self.locks.enter_context(
                one_writer(lock_of(self.folder, name), f"What {name} has of {self.folder}")
            )
            self.couriers.append(Courier(Delivery(name, self.folder, ledger.run), self.say))
        records = ledger.read() if self.couriers else []
        for courier in self.couriers:
            for record in records:
                courier.put(record)
            ledger.listeners.append(courier.put)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        finished = error is None
        files = result_files(self.folder) if finished and self.couriers else ()
        for courier in self.couriers:
            courier.put(_End(files, finished))
        patience_s, most_s = (_PATIENCE_S, _MOST_S) if finished else (_STOPPED_S, _STOPPED_S)
        for courier in self.couriers:
            courier.wait(patience_s, most_s)
        self.locks.close()


class Courier:
    """A queue before one tracker, and the thread that empties it.

    Args:
        delivery: To the tracker.
        say: Takes a line.
    """

    def __init__(self, delivery: Delivery, say: Callable[[str], None]) -> None:
        self.delivery = delivery
        self.say = say
        self.waiting: queue.SimpleQueue[TrialRecord | _End] = queue.SimpleQueue()
        self.num_done = 0
        self.is_over = False  # all is sent, or it was told what is not
        # A daemon: a tracker that hangs must not keep the process.
        self.thread = threading.Thread(target=self._run, name=delivery.name, daemon=True)
        self.thread.start()

    def put(self, item: TrialRecord | _End) -> None:
        """Add to the queue, without waiting."""
        self.waiting.put(item)

    def wait(self, patience_s: float, most_s: float) -> None:
        """Wait for the end, as long as things are taken; then go on without the tracker.

        Args:
            patience_s: Seconds without one thing taken, at most.
            most_s: Seconds in all, at most.
        """
        start = last = time.monotonic()
        seen = self.num_done
        while self.thread.is_alive() and not self.is_over:
            now = time.monotonic()
            if self.num_done != seen:
                seen, last = self.num_done, now
            if now - last > patience_s or now - start > most_s:
                break
            self.thread.join(_STEP_S)
        waited = f"does not answer; not waited for after {time.monotonic() - start:.0f} s"
        self._leave(f"{self.delivery.name}: {waited}")

    def _run(self) -> None:
        with Told(self.delivery.name, self._leave):
            while True:
                item = self.waiting.get()
                if isinstance(item, _End):
                    self.delivery.end(item.files, finished=item.finished)
                    self.is_over = True
                    return
                self.delivery.send(item)
                self.num_done += 1

    def _leave(self, why: str) -> None:
        """Say once that the tracker is left out."""
        if not self.is_over:
            self.is_over = True
            name, run = self.delivery.name, self.delivery.folder
            self.say(
                f"{why}. The sweep does not wait for it; send it later: "
                f"scpo track {run} --to {name}"
            )
