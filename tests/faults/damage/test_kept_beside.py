"""What is damaged beside the records is made again or refused by name: no number is another."""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.faults.damage.damages import DAMAGES, DRAWN, take_other
from tests.faults.damage.kept_beside import KINDS, Check, encode
from tests.faults.table import in_turn

FLIPS, DRAWS = 400, 36  # of each kind with `make faults`
CASES = [(damage, kind) for damage in DAMAGES for kind in KINDS]


@dataclass(frozen=True)
class Kept:
    """One kind as it was written, its check, and its files."""

    sound: Path
    check: Check
    files: list[Path]

    def other_than(self, file: Path) -> Path | None:
        """Return a sound file of the same name's end and another content, None without one."""
        content = (self.sound / file).read_bytes()
        for other in self.files:
            found = self.sound / other
            if other.suffix == file.suffix and found.read_bytes() != content:
                return found
        return None


@pytest.fixture(scope="session")
def make(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Kept]:
    """Writes a kind, once."""
    texts, made = encode(finished_run), {}

    def get(kind: str) -> Kept:
        if kind not in made:
            sound = tmp_path_factory.mktemp("kept") / "sound"
            check = KINDS[kind](sound, finished_run, texts)
            files = sorted(p.relative_to(sound) for p in sound.rglob("*") if p.is_file())
            made[kind] = Kept(sound, check, files)
        return made[kind]

    return get


def fault_of(kept: Kept, place: Path, file: Path) -> str | None:
    """Return what is wrong with how a damaged file was read, None if nothing is."""
    try:
        return kept.check(place)
    except (ValueError, OSError) as error:
        return None if file.name in str(error) else f"unnamed: {error}"
    except Exception as error:
        return f"traceback: {error!r}"


@pytest.mark.parametrize(("kind", "few"), in_turn(CASES, len(KINDS) + 1, few=3))
def test_what_is_damaged_beside_the_records_changes_nothing(
    kind: tuple[str, str],
    few: int | None,
    make: Callable[[str], Kept],
    tmp_path: Path,
    tell: Callable[..., None],
) -> None:
    damage, name = kind
    kept, place, draw = make(name), tmp_path / "place", random.Random(f"{damage} {name}")
    needs_other = DAMAGES[damage] is take_other
    files = [file for file in kept.files if kept.other_than(file) or not needs_other]
    if not files:
        pytest.skip("it has one file")
    many = len(files) if damage not in DRAWN else FLIPS if "flipped" in damage else DRAWS
    bad: list[str] = []
    for file in islice(cycle(files), few or many):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(kept.sound, place)
        where = DAMAGES[damage](place / file, kept.other_than(file) or place / file, draw)
        if fault := fault_of(kept, place, file):
            bad.append(f"{file}, {where}: {fault}")
    tell(damage.format(name), few or many, bad, says="made again, or refused by name")
