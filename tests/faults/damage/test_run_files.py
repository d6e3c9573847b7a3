"""A damaged file of a finished run is refused by name, or changes nothing."""

import random
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import pytest

from tests.faults.damage.damages import DAMAGES, FIXED, take_other
from tests.faults.damage.judging import ARTEFACTS, Reader, fault_of, files_of
from tests.faults.readers import Ended, copy_of
from tests.faults.table import in_turn, shorten

FLIPS, DRAWS = 400, 36  # of each file or folder with `make faults`
KINDS = [(damage, pattern) for damage in DAMAGES for pattern in ARTEFACTS]


def injections(
    run: Path, other: Path, kind: tuple[str, str], few: int | None
) -> Iterator[tuple[Reader, Path]]:
    """Yield readers and files, `few` or as many as due: all files, then the next reader."""
    damage, pattern = kind
    files = files_of(run, pattern)
    if DAMAGES[damage] is take_other:
        files = [f for f in files if (run / f).read_bytes() != (other / f).read_bytes()]
    each = [(reader, file) for reader in ARTEFACTS[pattern] for file in files]
    return islice(cycle(each), few or times_of(damage) or len(each))


def times_of(damage: str) -> int | None:
    return None if damage in FIXED else FLIPS if "flipped" in damage else DRAWS


@pytest.mark.parametrize(("kind", "few"), in_turn(KINDS, len(ARTEFACTS) + 1, few=3))
def test_a_damaged_file_is_refused_by_name_or_changes_nothing(
    kind: tuple[str, str],
    few: int | None,
    finished_run: Path,
    other_run: Path,
    place: Path,
    sound: dict[str, Ended],
    tell: Callable[..., None],
) -> None:
    damage, pattern = kind
    bad: list[str] = []
    took_s, says, draw = [], "", random.Random(f"{damage} {pattern}")
    for reader, file in injections(finished_run, other_run, kind, few):
        run = copy_of(finished_run, place)
        where = DAMAGES[damage](run / file, other_run / file, draw)
        ended = reader(run)
        took_s.append(ended.seconds)
        if fault := fault_of(ended, sound[reader.__name__], file):
            bad.append(f"{reader.__name__} of {file}, {where}: {fault}")
        if ended.code == 2:
            says = ended.said
    tell(
        damage.format(pattern.replace("/*", "/")),
        len(took_s),
        bad,
        noticed_s=median(took_s),
        says=shorten(says, place) or "the results are the same",
    )
