"""Commands that are killed, interrupted or out of room: run again, they end as if undisturbed.

Real processes and signals, at moments drawn over a command's undisturbed time. Out of room is a
limit on the size of files, which ends a write in its middle as a full disk does.
"""

import random
import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from scpo.__main__ import main
from tests.faults.finished_run import COUNTRY, MODEL
from tests.faults.readers import copy_of
from tests.faults.table import injected, shorten
from tests.forked import Forked, start_scpo

LIMIT_S = 120.0  # of a command
END_S = 10.0  # after a signal


@dataclass(frozen=True)
class Command:
    """A command, and the files that say whether it came to the same end."""

    words: tuple[object, ...]
    files: tuple[str, ...]
    starts_anew: bool = False  # refuses what it had finished

    def results(self, folder: Path) -> dict[str, bytes | None]:
        """Return the bytes of its files; those of a kill may be absent."""
        paths = {name: folder / name for name in self.files}
        return {name: p.read_bytes() if p.is_file() else None for name, p in paths.items()}


COMMANDS = {
    "prepare": Command(
        ("prepare", "synthetic", "--out", "data", "--set", "synthetic.num_countries=2"),
        ("data/interactions.parquet",),
        starts_anew=True,
    ),
    "export": Command(
        ("export", "run", "--country", COUNTRY, "--out", "pairs.jsonl"),
        ("pairs.jsonl",),
        starts_anew=True,
    ),
    "score-file": Command(
        ("score-file", f"run/{MODEL}", "texts.jsonl", "--out", "scored.jsonl"),
        ("scored.jsonl",),
    ),
    "train": Command(
        *(
            ("train", "--data", "run/data", "--global-model", "run/global", "--country", COUNTRY),
            ("model/model.safetensors",),
        ),
        starts_anew=True,
    ),
    "rank": Command(("rank", "run"), ("run/leaderboard.csv", "run/models.json")),
    "curves": Command(("curves", "run"), ("run/curves.csv", "run/curves.svg")),
    "report": Command(("report", "run"), ("run/report.html", "run/arms.csv")),
}
QUICK = ("train", "score-file")  # in `make test`
EACH_COMMAND = pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.faults) for name in COMMANDS],
)
TRAIN = ("--arm", "full", "--out", "model", "--cache", "cache", "--set", "precision=fp32")
MORE = {"train": (*TRAIN, "--set", "checkpoint_every=1", "--max-tokens", "96")}


def words_of(name: str) -> tuple[object, ...]:
    return (*COMMANDS[name].words, *MORE.get(name, ()))


@dataclass
class Place:
    """A folder that is made afresh for every fault, and how a command ends there undisturbed."""

    folder: Path
    run: Path
    patch: pytest.MonkeyPatch

    def afresh(self) -> None:
        copy_of(self.run.parent, self.folder)
        rows = "".join(f'{{"prompt": "q {n}", "response": "a {n}"}}\n' for n in range(200))
        (self.folder / "texts.jsonl").write_text(rows)
        self.patch.chdir(self.folder)

    def finish(self, name: str) -> tuple[int, str]:
        """Run a command to its end and return its exit code and what it said."""
        return self.wait(start_scpo(*words_of(name), err=self.folder / "said"))

    def wait(self, process: Forked, limit: float = LIMIT_S) -> tuple[int, str]:
        code = process.wait(limit)
        said = self.folder / "said"
        return code, said.read_text() if said.is_file() else ""

    def undisturbed(self, name: str) -> tuple[float, dict[str, bytes | None]]:
        self.afresh()
        started = time.monotonic()
        code, said = self.finish(name)
        assert code == 0, said
        return time.monotonic() - started, COMMANDS[name].results(self.folder)


@pytest.fixture
def place(tmp_path: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return Place(tmp_path / "work", finished_run, monkeypatch)


def differs(place: Place, name: str, expected: dict[str, bytes | None]) -> str | None:
    """Return what is wrong once the same command has run again, None for nothing."""
    command = COMMANDS[name]
    before = command.results(place.folder)
    if before == expected and command.starts_anew:
        return None
    for file, found in before.items():
        if command.starts_anew and found not in (None, expected[file]):
            return f"{file} is half-written"
    (place.folder / "said").unlink(missing_ok=True)
    code, said = place.finish(name)
    if code != 0:
        return f"{name} again: {code} {said}"
    if command.results(place.folder) != expected:
        return f"{name} again: other files"
    return None


@EACH_COMMAND
@injected(1, 12)
def test_a_killed_command_is_done_again(
    name: str, times: int, place: Place, tell: Callable[..., None]
) -> None:
    whole, expected = place.undisturbed(name)
    moments, bad = random.Random(name), []
    for _ in range(times):
        place.afresh()
        process = start_scpo(*words_of(name), err=place.folder / "said")
        time.sleep(moments.uniform(0.0, whole))
        process.kill()
        if wrong := differs(place, name, expected):
            bad.append(wrong)
    tell(f"SIGKILL of `scpo {name}`", times, bad, says="the same command ends as undisturbed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@EACH_COMMAND
@injected(1, 6)
def test_a_signal_ends_a_command_with_a_word(
    name: str, number: signal.Signals, times: int, place: Place, tell: Callable[..., None]
) -> None:
    whole, expected = place.undisturbed(name)
    moments, bad, noticed, says = random.Random(f"{name} {number}"), [], [], ""
    for _ in range(times):
        place.afresh()
        process = Forked(_obedient, words_of(name), err=place.folder / "said")
        while not (place.folder / "ready").exists():
            time.sleep(0.005)
        time.sleep(moments.uniform(0.05, whole))
        started = time.monotonic()
        process.signal(number)
        code, said = place.wait(process, LIMIT_S)
        noticed.append(time.monotonic() - started)
        if noticed[-1] > END_S:
            bad.append(f"ended after {noticed[-1]:.0f} s")
        elif code not in (0, 128 + number, -number) or "Traceback" in said:
            bad.append(f"{code} {said}")
        elif code > 0 and "stopped by" not in said:  # below 0 it had not begun
            bad.append(f"no word: {said}")
        elif wrong := differs(place, name, expected):
            bad.append(wrong)
        says = said if code else says
    tell(
        f"{number.name} to `scpo {name}`",
        times,
        bad,
        noticed_s=statistics.median(noticed),
        says=shorten(says.splitlines()[-1] if says else "it had ended", place.folder),
    )


@EACH_COMMAND
@injected(1, 6)
def test_no_room_is_said_and_loses_nothing(
    name: str, times: int, place: Place, tell: Callable[..., None]
) -> None:
    _, expected = place.undisturbed(name)
    largest = max(len(found or b"") for found in expected.values())
    sizes, bad, says = random.Random(name), [], ""
    for _ in range(times):
        place.afresh()
        room = sizes.randrange(1, largest)
        code, said = place.wait(Forked(_limited, words_of(name), room, err=place.folder / "said"))
        if code != 2 or "Traceback" in said or "traceback is in" in said:
            bad.append(f"{code} {said}")
        elif wrong := differs(place, name, expected):
            bad.append(wrong)
        says = said or says
    says = shorten(says.splitlines()[-1] if says else "", place.folder)
    tell(f"no room for what `scpo {name}` writes", times, bad, says=says)


def _obedient(words: tuple[object, ...]) -> None:
    """Run a command that obeys SIGINT, which shells let their background processes ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    Path("ready").touch()
    sys.argv = ["scpo", *map(str, words)]
    try:
        main()
    finally:  # what comes now would meet the test's own process, not the command
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _limited(words: tuple[object, ...], room: int) -> None:
    """Run a command none of whose files may be longer than `room` bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    sys.argv = ["scpo", *map(str, words)]
    main()
