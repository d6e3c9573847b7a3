"""Lines of the ledger that are lost, moved, foreign, edited or torn are refused by name."""

import random
import re
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import pytest

from sweeps.ledger.records import LEDGER_NAME
from tests.faults.damage.judging import WHOLE, fault_of
from tests.faults.readers import Ended, copy_of
from tests.faults.table import in_turn, shorten

Fault = Callable[[list[bytes], bytes, random.Random], bytes]
TIMES = 6 * len(WHOLE)


def whole(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def lost(lines: list[bytes], foreign: bytes, draw: random.Random) -> bytes:
    lines.pop(draw.randrange(len(lines)))
    return whole(lines)


def lost_at_the_end(lines: list[bytes], foreign: bytes, draw: random.Random) -> bytes:
    return whole(lines[: draw.randrange(1, len(lines))])


def doubled(lines: list[bytes], foreign: bytes, draw: random.Random) -> bytes:
    lines.insert(draw.randrange(len(lines)), lines[draw.randrange(len(lines))])
    return whole(lines)


def exchanged(lines: list[bytes], foreign: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(lines) - 1)
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    return whole(lines)


def added(lines: list[bytes], foreign: bytes, draw: random.Random) -> bytes:
    lines.insert(draw.randint(0, len(lines)), foreign)
    return whole(lines)


def replaced(lines: list[bytes], foreign: bytes, draw: random.Random) -> bytes:
    lines[draw.randrange(len(lines))] = foreign
    return whole(lines)


def edited(pattern: bytes, value: bytes) -> Fault:
    """Return what puts a value in the place of one that a pattern finds after its name."""

    def edit(lines: list[bytes], foreign: bytes, draw: random.Random) -> bytes:
        has = [n for n, line in enumerate(lines) if re.search(pattern, line)]
        at = draw.choice(has)
        lines[at] = re.sub(pattern, rb"\g<1>" + value, lines[at], count=1)
        return whole(lines)

    return edit


def torn(lines: list[bytes], foreign: bytes, draw: random.Random) -> bytes:
    """Leave what a kill in the middle of the next append leaves."""
    return whole(lines) + lines[-1][: draw.randrange(1, len(lines[-1]) - 80)]


def without_last_newline(lines: list[bytes], foreign: bytes, draw: random.Random) -> bytes:
    return whole(lines)[:-1]


def with_blank_line(lines: list[bytes], foreign: bytes, draw: random.Random) -> bytes:
    lines.insert(draw.randint(0, len(lines)), b"")
    return whole(lines)


KINDS: dict[str, Fault] = {
    "a line lost from the ledger": lost,
    "the ledger's last lines lost": lost_at_the_end,
    "a line of the ledger twice": doubled,
    "two lines of the ledger exchanged": exchanged,
    "another run's line added to the ledger": added,
    "another run's line in place of one": replaced,
    "NaN written into the ledger": edited(rb'("accuracy": )[\d.]+', b"NaN"),
    "an accuracy of 7.5 written into the ledger": edited(rb'("accuracy": )[\d.]+', b"7.5"),
    "a negative count written into the ledger": edited(rb'("pairs": )\d+', b"-3"),
    "another accuracy written into the ledger": edited(rb'("accuracy": )[\d.]+', b"0.875"),
    "another run's id written into the ledger": edited(rb'("run": ")\w+', b"01234567"),
    "half a line at the ledger's end": torn,
    "the ledger's last newline lost": without_last_newline,
    "a blank line in the ledger": with_blank_line,
    "Windows line ends in the ledger": lambda lines, *_: b"\r\n".join([*lines, b""]),
    "a byte order mark before the ledger": lambda lines, *_: b"\xef\xbb\xbf" + whole(lines),
    "zeros at the ledger's end": lambda lines, _, draw: whole(lines) + bytes(draw.randint(1, 512)),
    "the ledger's lines in reverse": lambda lines, *_: whole(lines[::-1]),
    "the ledger in UTF-16": lambda lines, *_: whole(lines).decode().encode("utf-16"),
}


@pytest.mark.parametrize(("kind", "few"), in_turn([*KINDS], 4, few=2))
def test_lines_that_are_not_as_written_are_refused_by_name(
    kind: str,
    few: int | None,
    finished_run: Path,
    other_run: Path,
    place: Path,
    sound: dict[str, Ended],
    tell: Callable[..., None],
) -> None:
    lines = (finished_run / LEDGER_NAME).read_bytes().splitlines()
    foreign = (other_run / LEDGER_NAME).read_bytes().splitlines()
    bad: list[str] = []
    took_s, says, draw = [], "", random.Random(kind)
    for reader in islice(cycle(WHOLE), few or TIMES):
        run = copy_of(finished_run, place)
        (run / LEDGER_NAME).write_bytes(KINDS[kind]([*lines], draw.choice(foreign), draw))
        ended = reader(run)
        took_s.append(ended.seconds)
        if fault := fault_of(ended, sound[reader.__name__], Path(LEDGER_NAME)):
            bad.append(f"{reader.__name__}: {fault}")
        if ended.code == 2:
            says = ended.said
    says = shorten(says, place) or "the results are the same"
    tell(kind, len(took_s), bad, noticed_s=median(took_s), says=says)
