"""A flipped bit of any file of a finished run is refused by name, or changes nothing."""

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pytest

from tests.faults import readers
from tests.faults.finished_run import MODEL
from tests.faults.readers import Ended, copy_of, is_equal
from tests.faults.table import injected, shorten

Reader = Callable[[Path], Ended]
TABLES = (readers.rank, readers.curves, readers.report)
WHOLE = (*TABLES, readers.evaluate, readers.resume, readers.repair)
MODELS = (readers.evaluate, readers.resume)
FINALS = (readers.load, readers.evaluate, readers.repair)
# What is read of a run, by whom. Files of models are all read, each by a reader in turn.
ARTEFACTS: dict[str, tuple[Reader, ...]] = {
    "trials.jsonl": WHOLE,
    "config.yaml": WHOLE,
    "run.json": WHOLE,
    "split.json": WHOLE,
    "data/interactions.parquet": WHOLE,
    "user_weights.csv": (*TABLES, readers.resume, readers.repair),
    "models.json": (*TABLES, readers.resume, readers.repair),
    "global/*": MODELS,
    f"{MODEL}/*": FINALS,
}
ONLY_SHOWN = ("README.md", ".scpo.json")  # the card, and what wrote the folder
SET_ASIDE = re.compile(r"damaged|repaired")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damage") / "run"


@pytest.fixture(scope="module")
def sound(finished_run: Path, place: Path) -> dict[str, Ended]:
    """How each reader ends on the run as it was written."""
    ended = {}
    for reader in {*WHOLE, *FINALS}:
        ended[reader.__name__] = reader(copy_of(finished_run, place))
        assert ended[reader.__name__].code == 0, ended[reader.__name__].said
    return ended


def files_of(run: Path, pattern: str) -> list[Path]:
    found = [path for path in run.glob(pattern) if path.is_file()]
    return sorted(path for path in found if path.name not in ONLY_SHOWN)


def flip_bit(file: Path, draw: random.Random) -> tuple[int, int]:
    content = bytearray(file.read_bytes())
    at, bit = draw.randrange(len(content)), draw.randrange(8)
    content[at] ^= 1 << bit
    file.write_bytes(content)
    return at, bit


def fault_of(ended: Ended, sound: Ended, file: Path) -> str | None:
    """Return what is wrong with how a reader ended on a damaged file, None if nothing is."""
    named = file.name in ended.said or file.parent.name in ended.said
    if ended.has_traceback:
        return f"traceback: {ended.said[-200:]}"
    if ended.code == 2:
        return None if named else f"unnamed: {ended.said[-200:]}"
    if SET_ASIDE.search(ended.said):
        return None if named else f"set aside without its name: {ended.said[-200:]}"
    same = is_equal(ended.result, sound.result)
    return None if same and ended.code == sound.code else "used in silence"


def injections(run: Path, pattern: str, times: int) -> Iterator[tuple[Reader, Path]]:
    """Yield `times` readers and files: each file of a pattern in turn, then the next reader."""
    files, who = files_of(run, pattern), ARTEFACTS[pattern]
    for number in range(times):
        yield who[number // len(files) % len(who)], files[number % len(files)].relative_to(run)


@injected(2, 400)
@pytest.mark.parametrize("pattern", ARTEFACTS)
def test_a_flipped_bit_is_refused_by_name_or_changes_nothing(
    pattern: str,
    times: int,
    finished_run: Path,
    place: Path,
    sound: dict[str, Ended],
    tell: Callable[..., None],
) -> None:
    bad: list[str] = []
    took_s, says, draw = [], "", random.Random(pattern)
    for reader, file in injections(finished_run, pattern, times):
        run = copy_of(finished_run, place)
        at, bit = flip_bit(run / file, draw)
        ended = reader(run)
        took_s.append(ended.seconds)
        if fault := fault_of(ended, sound[reader.__name__], file):
            bad.append(f"{reader.__name__} of {file}, byte {at} bit {bit}: {fault}")
        if ended.code == 2:
            says = ended.said
    kind = f"a flipped bit of {pattern.replace('/*', '/')}"
    tell(kind, times, bad, noticed_s=median(took_s), says=shorten(says, place))
