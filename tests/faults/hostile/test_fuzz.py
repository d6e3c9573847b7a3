"""Every reader of the project on thousands of changed inputs: read, or refused in our words.

A few by default; with `make faults` as many as fit into SCPO_FUZZ_S seconds a reader.
"""

import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from scpo.tokens import chat_template
from tests.faults.hostile.data_readers import data_readers
from tests.faults.hostile.other_readers import other_readers
from tests.faults.hostile.refusals import Reader, distinct, fault_of, shorten_input
from tests.faults.hostile.run_readers import run_readers

FUZZ_S = float(os.environ.get("SCPO_FUZZ_S", "60"))
FEW = 8
ROUND = 100


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCPO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(chat_template, "RENDER_S", 1.0)
    chat_template._stop()  # one with the usual bound may run already


def fuzz(reader: Reader, folder: Path, num: int, number: int) -> list[str]:
    """Return what went wrong with so many inputs; `number` chooses others each time."""
    faults: list[str] = []

    @seed(number)
    @settings(
        max_examples=num,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(content=reader.inputs)
    def one(content: bytes) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        if fault := fault_of(reader, content, folder):
            faults.append(f"{fault} | {shorten_input(content)}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one()
    return faults


def run_all(
    readers: list[Reader], tmp_path: Path, tell: Callable[..., None], seconds: float | None
) -> None:
    """Fuzz readers and tell each; None for a few inputs."""
    failed = []
    for reader in readers:
        ends, rounds, faults = time.monotonic() + (seconds or 0.0), 0, []
        while rounds == 0 or time.monotonic() < ends:
            faults += fuzz(reader, tmp_path / "in", ROUND if seconds else FEW, rounds)
            rounds += 1
        times = rounds * (ROUND if seconds else FEW)
        try:
            tell(f"fuzzed: {reader.name}", times, faults, says="read, counted or refused by name")
        except AssertionError:
            failed += [f"{reader.name}: {fault}" for fault in distinct(faults)[:8]]
    if failed:
        pytest.fail("\n".join(failed), pytrace=False)


def _few(seconds: float | None) -> object:
    return pytest.param(seconds, marks=[pytest.mark.faults] if seconds else [])


several = pytest.mark.parametrize("seconds", [_few(None), _few(FUZZ_S)], ids=["few", "full"])


@several
def test_readers_of_data(seconds: float | None, tmp_path: Path, tell: Callable[..., None]) -> None:
    run_all(data_readers(), tmp_path, tell, seconds)


@several
def test_readers_of_a_run(
    seconds: float | None, tmp_path: Path, finished_run: Path, tell: Callable[..., None]
) -> None:
    (tmp_path / "made").mkdir()
    run_all(run_readers(finished_run, tmp_path / "made"), tmp_path, tell, seconds)


@several
def test_other_readers(seconds: float | None, tmp_path: Path, tell: Callable[..., None]) -> None:
    (tmp_path / "made").mkdir()
    run_all(other_readers(tmp_path / "made"), tmp_path, tell, seconds)
