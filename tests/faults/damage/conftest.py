"""Fixtures of damaged runs: where they lie, and how each reader ends on a sound one."""

from pathlib import Path

import pytest

from tests.faults.damage.judging import FINALS, WHOLE
from tests.faults.readers import Ended, copy_of


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damage") / "run"


@pytest.fixture(scope="session")
def sound(finished_run: Path, place: Path) -> dict[str, Ended]:
    """How each reader ends on the run as it was written."""
    ended = {}
    for reader in {*WHOLE, *FINALS}:
        ended[reader.__name__] = reader(copy_of(finished_run, place))
        assert ended[reader.__name__].code == 0, ended[reader.__name__].said
    return ended
