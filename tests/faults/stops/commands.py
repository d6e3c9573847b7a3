"""Commands that write, the place where they do, and whether they came to the undisturbed end."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sweeps.ledger.records import LEDGER_NAME
from tests.faults.finished_run import COUNTRY, MODEL
from tests.faults.readers import copy_of
from tests.forked import Forked, start_scpo

LIMIT_S = 120.0  # of a command
QUICK = ("train", "score-file")  # in `make test`


@dataclass(frozen=True)
class Command:
    """A command, and the files that say whether it came to the same end.

    Attributes:
        words: Its command line.
        files: Patterns of the files that it writes.
        out: The first place that it writes.
        starts_anew: Whether it refuses what it had finished.
    """

    words: tuple[object, ...]
    files: tuple[str, ...]
    out: str
    starts_anew: bool = False

    def results(self, folder: Path) -> dict[str, bytes]:
        """Return the bytes of its files; those of a kill may be absent."""
        found = [path for pattern in self.files for path in sorted(folder.glob(pattern))]
        return {str(p.relative_to(folder)): p.read_bytes() for p in found if p.is_file()}


_TRAIN = ("--data", "run/data", "--global-model", "run/global", "--country", COUNTRY)
_SMALL = ("--max-tokens", "96", "--set")
COMMANDS = {
    "prepare": Command(
        ("prepare", "synthetic", "--out", "data", "--set", "synthetic.num_countries=2"),
        ("data/interactions.parquet",),
        "data",
        starts_anew=True,
    ),
    "export": Command(
        ("export", "run", "--country", COUNTRY, "--out", "pairs.jsonl"),
        ("pairs.jsonl",),
        "pairs.jsonl",
        starts_anew=True,
    ),
    "score-file": Command(
        ("score-file", f"run/{MODEL}", "texts.jsonl", "--out", "scored.jsonl"),
        ("scored.jsonl",),
        "scored.jsonl",
    ),
    "rerank": Command(
        ("rerank", f"run/{MODEL}", "ranked.jsonl", "--out", "best.jsonl"),
        ("best.jsonl",),
        "best.jsonl",
    ),
    "train": Command(
        (
            *("train", *_TRAIN, "--arm", "full", "--out", "model", "--cache", "cache"),
            *(*_SMALL, "precision=fp32", "--set", "checkpoint_every=1"),
        ),
        ("model/model.safetensors",),
        "model",
        starts_anew=True,
    ),
    "train-global": Command(
        (
            *("train-global", "--data", "run/data", "--backbone", "run/global", "--out", "wide"),
            *(*_SMALL, "max_pairs=40"),
        ),
        ("wide/model.safetensors",),
        "wide",
        starts_anew=True,
    ),
    "score": Command(
        ("score", *_TRAIN[:4], "--cache", "kept"), ("kept/reference/*/*.parquet",), "kept"
    ),
    "evaluate": Command(
        ("evaluate", "--run", "run", "--out", "judged", "--cache", "cache"),
        ("judged/accuracy.csv", "judged/pairs.parquet", "judged/*.svg"),
        "judged",
    ),
    "probe": Command(
        ("probe", "run/config.yaml", "--out", "tried", "--settings", "8", "--set", "cache=cache"),
        ("tried/probe.csv",),
        "tried",
    ),
    "rank": Command(
        ("rank", "run"), ("run/leaderboard.csv", "run/models.json"), "run/leaderboard.csv"
    ),
    "curves": Command(("curves", "run"), ("run/curves.csv", "run/curves.svg"), "run/curves.csv"),
    "report": Command(("report", "run"), ("run/report.html", "run/arms.csv"), "run/arms.csv"),
    "repair": Command(
        ("repair", "torn"), ("torn/trials.jsonl", "torn/trials.end.json"), "torn/set-aside"
    ),
}
EACH_COMMAND = pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.faults) for name in COMMANDS],
)


@dataclass
class Place:
    """A folder that is made afresh for every fault, and how a command ends there undisturbed."""

    folder: Path
    run: Path
    patch: pytest.MonkeyPatch

    def afresh(self) -> None:
        copy_of(self.run.parent, self.folder)
        texts = "".join(f'{{"prompt": "q {n}", "response": "a {n}"}}\n' for n in range(200))
        (self.folder / "texts.jsonl").write_text(texts)
        rows = "".join(f'{{"prompt": "q {n}", "responses": ["a", "b {n}"]}}\n' for n in range(99))
        (self.folder / "ranked.jsonl").write_text(rows)
        ledger = copy_of(self.folder / "run", self.folder / "torn") / LEDGER_NAME
        ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[1:]))
        self.patch.chdir(self.folder)

    def finish(self, name: str) -> tuple[int, str]:
        """Run a command to its end and return its exit code and what it said."""
        return self.wait(start_scpo(*COMMANDS[name].words, err=self.folder / "said"))

    def finish_as(self, call: Callable[..., None], name: str, *more: Any) -> tuple[int, str]:
        """Run a command within a call that disturbs it, and return the same."""
        return self.wait(Forked(call, COMMANDS[name].words, *more, err=self.folder / "said"))

    def wait(self, process: Forked) -> tuple[int, str]:
        code = process.wait(LIMIT_S)
        said = self.folder / "said"
        return code, said.read_text() if said.is_file() else ""

    def undisturbed(self, name: str) -> tuple[float, dict[str, bytes]]:
        self.afresh()
        started = time.monotonic()
        code, said = self.finish(name)
        assert code == 0, said
        return time.monotonic() - started, COMMANDS[name].results(self.folder)

    def differs(self, name: str, expected: dict[str, bytes]) -> str | None:
        """Return what is wrong once the same command has run again, None for nothing."""
        command = COMMANDS[name]
        before = command.results(self.folder)
        if before == expected and command.starts_anew:
            return None
        for file, found in before.items():
            if command.starts_anew and found != expected.get(file):
                return f"{file} is half-written"
        (self.folder / "said").unlink(missing_ok=True)
        code, said = self.finish(name)
        if code != 0:
            return f"{name} again: {code} {said}"
        if command.results(self.folder) != expected:
            return f"{name} again: other files"
        return None
