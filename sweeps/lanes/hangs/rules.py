"""Which lanes hang, given what was heard of their processes.

A process that sends nothing is stopped, whatever it does. A lane whose processes all compute the
same step for long hangs too; where one of them goes on, the others only wait for it.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sweeps.lanes.hangs.sign_book import Heard
from sweeps.lanes.hangs.signs import Process

_TELL_S = 55.0  # told within a minute: a sign comes every second, and a look at it takes some
_LEAST_S = 300.0
_TIMES_LONGEST = 20.0


@dataclass(frozen=True)
class Hang:
    """A lane without progress.

    Attributes:
        lane: Its name.
        culprit: The process that stands still longest.
        age_s: For how long the lane stands still.
        processes: Those to end, so that the lane is replaced or starts its workers anew.
    """

    lane: str
    culprit: Heard
    age_s: float
    processes: tuple[Process, ...]

    @property
    def job(self) -> str | None:
        """Return the trial that the culprit computes."""
        return self.culprit.sign.job


def limit_s(hang_s: float | None, longest_s: float, num_hangs: int = 0) -> float:
    """Return after how many seconds without progress a lane is replaced.

    Args:
        hang_s: As set; None for 300 s, or 20 times the longest step so far where that is more,
            and twice as long each time that the job's lane was replaced before.
        longest_s: The longest time between two steps so far.
        num_hangs: How often the job's lane was replaced.
    """
    if hang_s is not None:
        return hang_s
    return max(_LEAST_S, _TIMES_LONGEST * longest_s) * 2.0**num_hangs


def tell_s(longest_s: float) -> float:
    """Return after how many seconds a lane is told: a minute, or twice the longest step so far."""
    return max(_TELL_S, 2 * longest_s)


def find_hangs(heard: Iterable[Heard], after_s: float) -> list[Hang]:
    """Return the lanes without progress for some seconds."""
    lanes: dict[str, list[Heard]] = defaultdict(list)
    for each in heard:
        lanes[each.sign.lane].append(each)
    hangs = []
    for lane, own in lanes.items():
        silent = [each for each in own if each.silent_s >= after_s]
        working = [each for each in own if each.sign.job is not None]
        if silent:
            culprit = max(silent, key=lambda each: each.silent_s)
            age_s = culprit.silent_s
        elif working and min(each.still_s for each in working) >= after_s:
            culprit = max(working, key=lambda each: each.still_s)
            age_s = min(each.still_s for each in working)
        else:
            continue
        ended = tuple(each.sign.process for each in silent or working)
        hangs.append(Hang(lane, culprit, age_s, ended))
    return hangs
