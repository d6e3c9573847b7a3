"""Commands that are killed or interrupted: run again, they end as if undisturbed.

Real processes and signals, at moments drawn over a command's undisturbed time.
"""

import random
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scpo.__main__ import main
from tests.faults.stops.commands import COMMANDS, EACH_COMMAND, Place
from tests.faults.table import injected, shorten
from tests.forked import Forked, start_scpo

END_S = 10.0  # after a signal


@EACH_COMMAND
@injected(1, 6)
def test_a_killed_command_is_done_again(
    name: str, times: int, place: Place, tell: Callable[..., None]
) -> None:
    whole, expected = place.undisturbed(name)
    moments, bad = random.Random(name), []
    for _ in range(times):
        place.afresh()
        process = start_scpo(*COMMANDS[name].words, err=place.folder / "said")
        time.sleep(moments.uniform(0.0, whole))
        process.kill()
        if wrong := place.differs(name, expected):
            bad.append(wrong)
    tell(f"SIGKILL of `scpo {name}`", times, bad, says="the same command ends as undisturbed")


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.faults)],
)
@EACH_COMMAND
@injected(1, 4)
def test_a_signal_ends_a_command_with_a_word(
    name: str, number: signal.Signals, times: int, place: Place, tell: Callable[..., None]
) -> None:
    whole, expected = place.undisturbed(name)
    moments, bad, noticed, says = random.Random(f"{name} {number}"), [], [], ""
    for _ in range(times):
        place.afresh()
        process = Forked(_obedient, COMMANDS[name].words, err=place.folder / "said")
        while not (place.folder / "ready").exists():
            time.sleep(0.005)
        time.sleep(moments.uniform(0.05, whole))
        started = time.monotonic()
        process.signal(number)
        code, said = place.wait(process)
        noticed.append(time.monotonic() - started)
        if noticed[-1] > END_S:
            bad.append(f"ended after {noticed[-1]:.0f} s")
        elif code not in (0, 128 + number, -number) or "Traceback" in said:
            bad.append(f"{code} {said}")
        elif code > 0 and "stopped by" not in said:  # below 0 it had not begun
            bad.append(f"no word: {said}")
        elif wrong := place.differs(name, expected):
            bad.append(wrong)
        says = said if code else says
    tell(
        f"{number.name} to `scpo {name}`",
        times,
        bad,
        noticed_s=statistics.median(noticed),
        says=shorten(says.splitlines()[-1] if says else "it had ended", place.folder),
    )


def _obedient(words: tuple[object, ...]) -> None:
    """Run a command that obeys SIGINT, which shells let their background processes ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which `nohup` ignores for all that it starts
    Path("ready").touch()
    sys.argv = ["scpo", *map(str, words)]
    try:
        main()
    finally:  # what comes now would meet the test's own process, not the command
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
