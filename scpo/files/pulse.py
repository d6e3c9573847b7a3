"""How far this process has come: a count that whatever takes long raises as it goes on.

Training, scoring, loading and writing raise it after every step, batch, tensor and file, in the
thread that does the work. A count that stands still for long is that of a process that hangs.
"""

from dataclasses import dataclass


@dataclass
class Pulse:
    """A count of steps of any kind."""

    count: int = 0

    def beat(self) -> None:
        """Count one more step."""
        self.count += 1


pulse = Pulse()  # of this process
