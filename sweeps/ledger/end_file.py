"""Where the ledger ends, kept beside it: lines that are lost at its end are missed.

The chain ties each line to those before it, so it cannot tell that the last ones, or all, are
gone, or that the whole file is another run's. After each append `trials.end.json` says how many
lines there are and the chain at the last. It is written after the line: a kill in between leaves
a ledger of one line more, which is sound.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scpo.files.atomic import atomic_path, hash_values, read_versioned

END_NAME = "trials.end.json"
_FORMAT = 1
_DAMAGED = "which says where the ledger ends. `scpo repair` writes it again."


@dataclass(frozen=True)
class LedgerEnd:
    """What a ledger had after some append.

    Attributes:
        run: Id of the run; None where no version of scpo wrote one.
        lines: How many lines.
        link: The chain at the last of them, empty without any.
    """

    run: str | None
    lines: int
    link: str

    def check_run(self, file: Path, run: str | None) -> None:
        """Compare the run of a ledger's lines, None without lines, with this one.

        Raises:
            ValueError: It is another.
        """
        if run not in (None, self.run):
            raise ValueError(
                f"{file} is of run {run}, and {END_NAME} beside it of {self.run}. Restore the one "
                f"that is not of this run, or delete {END_NAME} if it is that one."
            )

    def check(self, file: Path, run: str | None, links: Sequence[str]) -> None:
        """Compare a ledger, the chain at each of its lines, with what it had at least.

        Raises:
            ValueError: Lines of it are gone, or it is another run's.
        """
        self.check_run(file, run)
        if len(links) < self.lines:
            raise ValueError(
                f"{file} ends after {len(links)} lines, but {self.lines} were written: finished "
                "trainings are missing. Restore it from a copy."
            )
        if self.lines and links[self.lines - 1] != self.link:
            raise ValueError(f"{file} has other lines than {END_NAME} beside it tells of.")


def read_end(folder: Path) -> LedgerEnd | None:
    """Return where the ledger of a folder ends at least; None where nothing says so.

    Read it before the ledger, which may grow.

    Raises:
        ValueError: The file is damaged, or of a later version.
    """
    file = folder / END_NAME
    if file.is_file() and file.stat().st_size == 0:
        return None
    held = read_versioned(file, range(1, _FORMAT + 1), _DAMAGED)
    if not held:
        return None
    found = held.pop("sum", None)
    if found != hash_values(held)[:16]:
        raise ValueError(f"{file} has other bytes than were written, {_DAMAGED}")
    return LedgerEnd(held["run"], held["lines"], held["link"])


def write_end(folder: Path, end: LedgerEnd) -> None:
    """Write where the ledger of a folder ends.

    It is not forced to the disk, as the line is: that would cost every trial as much again. After
    a power cut the file may tell of an earlier line, which is sound, or be empty.
    """
    held = {"format": _FORMAT, "run": end.run, "lines": end.lines, "link": end.link}
    text = json.dumps({**held, "sum": hash_values(held)[:16]}, indent=2)
    with atomic_path(folder / END_NAME, durable=False) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")
