"""How far a long work has come, in a line now and then, and about how long the rest takes."""

import time

from scpo.text.terminal import console, warn

_LEAST_SHARE = 0.01  # of the work, from which the rest is estimated
EVERY_S = 5.0  # between two lines; later a tenth of the time so far, so that a day has few


class ProgressLines:
    """Tells on standard error how far a work has come; nothing of one that takes under 5 s.

    `what` names it, such as "reading rows.jsonl"; `total` is all of it, in any unit.
    """

    def __init__(self, what: str, total: float) -> None:
        self._what, self._total = what, total
        self._done = 0.0
        self._started = self._told = time.monotonic()

    def add(self, done: float) -> None:
        """Count what was done since the last call."""
        self._done += done
        now = time.monotonic()
        due_s = max(EVERY_S, (now - self._started) / 10)
        if now - self._told < due_s or not 0 < self._done < self._total:
            return
        self._told = now
        share = self._done / self._total
        left_s = (now - self._started) * (1 / share - 1)
        left = f", about {format_seconds(left_s)} left" if share >= _LEAST_SHARE else ""
        if not console.quiet:
            warn(f"{self._what}: {100 * share:.0f} %{left}")


def format_seconds(seconds: float) -> str:
    """Return e.g. "40 s", "12 min", "3 h 05 min" or "2 d 4 h"."""
    if round(seconds) < 60:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    days, whole_hours = divmod(round(minutes / 60), 24)
    return f"{days} d {whole_hours} h"
