"""Every reader of the project on thousands of changed inputs: read, or refused in our words.

A few by default; with `make faults` as many as fit into SCPO_FUZZ_S seconds a reader, half of them
guided by the code that they reach (atheris, in a process of its own).
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
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
ROOT = Path(__file__).parents[3]
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


def fuzz_for(reader: Reader, folder: Path, seconds: float) -> tuple[int, list[str]]:
    """Return the number of inputs that fit into so many seconds, and what went wrong."""
    ends, rounds, faults = time.monotonic() + seconds, 0, []
    while rounds == 0 or time.monotonic() < ends:
        faults += fuzz(reader, folder, ROUND, rounds)
        rounds += 1
    return rounds * ROUND, faults


def fuzz_guided(reader: Reader, run: Path, seconds: float) -> tuple[int, list[str]]:
    """Do the same with inputs that atheris proposes."""
    with tempfile.TemporaryDirectory() as folder:
        asked = [str(run), folder, str(seconds), reader.name]
        guided = subprocess.run(
            [sys.executable, "-m", "tests.faults.hostile.guided_fuzz", *asked],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=seconds + 300,
        )
    try:
        result = json.loads(guided.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return 1, [f"the process ended, exit code {guided.returncode} | {guided.stderr[-2000:]}"]
    return result["inputs"], result["faults"]


def run_all(
    readers: list[Reader],
    tmp_path: Path,
    run: Path,
    tell: Callable[..., None],
    seconds: float | None,
) -> None:
    """Fuzz readers and tell each; None for a few inputs."""
    failed = []
    for reader in readers:
        if seconds is None:
            times, faults = FEW, fuzz(reader, tmp_path / "in", FEW, 0)
        else:
            times, faults = fuzz_for(reader, tmp_path / "in", seconds / 2)
            guided, more = fuzz_guided(reader, run, seconds / 2)
            times, faults = times + guided, faults + more
        try:
            tell(f"fuzzed: {reader.name}", times, faults, says="read, counted or refused by name")
        except AssertionError:
            failed += [f"{reader.name}: {fault}" for fault in distinct(faults)[:8]]
    if failed:
        pytest.fail("\n".join(failed), pytrace=False)


def _few(seconds: float | None) -> object:
    return pytest.param(seconds, marks=[pytest.mark.faults] if seconds else [])


several = pytest.mark.parametrize("seconds", [_few(None), _few(FUZZ_S)], ids=["few", "full"])


@pytest.fixture(autouse=True)
def _has_atheris(request: pytest.FixtureRequest) -> None:
    if request.node.callspec.params["seconds"] and not importlib.util.find_spec("atheris"):
        pytest.skip("atheris is not installed: pip install 'scpo[faults]'")


@several
def test_readers_of_data(
    seconds: float | None, tmp_path: Path, finished_run: Path, tell: Callable[..., None]
) -> None:
    run_all(data_readers(), tmp_path, finished_run, tell, seconds)


@several
def test_readers_of_a_run(
    seconds: float | None, tmp_path: Path, finished_run: Path, tell: Callable[..., None]
) -> None:
    (tmp_path / "made").mkdir()
    readers = run_readers(finished_run, tmp_path / "made")
    run_all(readers, tmp_path, finished_run, tell, seconds)


@several
def test_other_readers(
    seconds: float | None, tmp_path: Path, finished_run: Path, tell: Callable[..., None]
) -> None:
    (tmp_path / "made").mkdir()
    run_all(other_readers(tmp_path / "made"), tmp_path, finished_run, tell, seconds)
