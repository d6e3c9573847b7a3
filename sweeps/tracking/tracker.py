"""What every tracker does: four calls, made by one thread, in this order."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from sweeps.tracking.sent_values import SentSweep, SentTrial


class Tracker(Protocol):
    """Shows a sweep as a parent and each training as a child.

    Every call may take long, and raises what the tracker's package raises.
    """

    def open(self, sweep: SentSweep) -> None:
        """Make the parent, or find the one of an earlier session."""

    def send_trial(self, trial: SentTrial) -> None:
        """Make a child, or write the one of the same name anew."""

    def send_files(self, files: Sequence[Path]) -> None:
        """Attach files to the parent, in place of earlier ones."""

    def close(self, *, finished: bool) -> None:
        """Let the package write all that it holds; the sweep has come to its end, or stopped."""
