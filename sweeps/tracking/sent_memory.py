"""What a tracker was sent of a run, remembered in the run's folder: `tracking/mlflow.jsonl`.

The first line names the run's id, each other one a training that the tracker has taken, with a
hash of its record. A line that a kill tore is passed over: its training is sent once more, which
every tracker takes for the same one.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

from scpo.text.json_text import load_json
from sweeps.ledger.records import TrialRecord
from sweeps.tracking.sent_values import fingerprint

MEMORY_FOLDER = "tracking"


class SentMemory:
    """Trainings that one tracker has taken.

    Args:
        folder: Of the run.
        tracker: Its name.
        run: Id of the run, unless the folder remembers one.
    """

    def __init__(self, folder: Path, tracker: str, run: str) -> None:
        self.file = folder / MEMORY_FOLDER / f"{tracker}.jsonl"
        self.run = run
        self.taken: dict[str, str] = {}  # hash by trial
        held = self.file.read_text("utf-8", "replace") if self.file.is_file() else ""
        for line in held.split("\n")[:-1]:
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                entry = load_json(line)
                self.run = entry.get("run", self.run)
                self.taken[entry["trial"]] = entry["sent"]
        if not self.taken:
            self._write({"run": self.run})

    def lacks(self, record: TrialRecord) -> bool:
        """Tell whether the tracker has not taken a record as it is now."""
        return self.taken.get(record.trial_id) != fingerprint(record)

    def add(self, record: TrialRecord) -> None:
        """Remember that the tracker has taken a record."""
        self.taken[record.trial_id] = fingerprint(record)
        self._write({"trial": record.trial_id, "sent": self.taken[record.trial_id]})

    def _write(self, entry: dict[str, str]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab+") as handle:
            if handle.tell():
                handle.seek(-1, os.SEEK_END)
            torn = handle.read(1) not in (b"\n", b"")
            handle.write(b"\n" * torn + json.dumps(entry).encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
