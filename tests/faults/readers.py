"""What reads a run, and how it ended: refused by name, as before, or otherwise.

Commands run in this process, through the same door as on the command line.
"""

import io
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np

from scpo.__main__ import main, make_app
from scpo.models.loading import load_reward_model
from sweeps.run.inputs import prepare_countries
from sweeps.run.run_folder import open_run, read_run_config
from sweeps.run.table_and_model import prepare_table_and_model
from tests.faults.finished_run import MODEL

TRACEBACK = ("Traceback", "The traceback is in")


_APP = make_app()  # to make it takes longer than most refusals


@dataclass(frozen=True)
class Ended:
    """How a reader ended.

    `said` is what it printed, `result` what it computed: equal for sound files.
    """

    code: object
    said: str
    result: object
    seconds: float

    @property
    def has_traceback(self) -> bool:
        return self.code not in (0, 1, 2) or any(word in self.said for word in TRACEBACK)


def run_command(*words: object) -> Ended:
    """Run `scpo WORDS` in this process; the result is what it printed."""
    out, err, code, started = io.StringIO(), io.StringIO(), 0, time.monotonic()
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "argv", ["scpo", *map(str, words)]),
        patch("scpo.__main__.make_app", return_value=_APP),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code  # type: ignore[assignment]
        except Exception as error:
            code = repr(error)  # type: ignore[assignment]
    said = out.getvalue() + err.getvalue()
    return Ended(code, said, out.getvalue(), time.monotonic() - started)


def _with_files(*names: str) -> Callable[[Ended, Path], Ended]:
    def read(ended: Ended, run: Path) -> Ended:
        files = {name: (run / name).read_bytes() for name in names if (run / name).is_file()}
        return Ended(ended.code, ended.said, (ended.result, files), ended.seconds)

    return read


def rank(run: Path) -> Ended:
    return _with_files("leaderboard.csv", "regret.csv")(run_command("rank", run), run)


def curves(run: Path) -> Ended:
    return _with_files("curves.csv", "curve_summary.csv")(run_command("curves", run), run)


def report(run: Path) -> Ended:
    return _with_files("arms.csv", "report.html")(run_command("report", run), run)


def evaluate(run: Path) -> Ended:
    return run_command("evaluate", "--run", run, "--json")


def repair(run: Path) -> Ended:
    return run_command("repair", run)


def load(run: Path) -> Ended:
    """Load the final model, as `RewardModel.from_pretrained` does."""
    return _call(lambda: {k: v.numpy() for k, v in _state_of(run / MODEL)})


def resume(run: Path) -> Ended:
    """Open a run to go on with it: its pins, its ledger, its data, model and rewards."""
    return _call(lambda: _resumed(run))


def copy_of(run: Path, to: Path) -> Path:
    """Return a fresh copy of a finished run, at the same place at every call."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(run, to)
    return to


def is_equal(one: object, other: object) -> bool:
    """Tell whether two results are equal, arrays too."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_equal(one[k], other[k]) for k in one)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)  # type: ignore[arg-type]
    return one == other


def _call(compute: Callable[[], object]) -> Ended:
    started = time.monotonic()
    try:
        return Ended(0, "", compute(), time.monotonic() - started)
    except (ValueError, OSError, RuntimeError) as error:
        return Ended(2, f"scpo: {error}", None, time.monotonic() - started)
    except Exception as error:
        return Ended(repr(error), f"Traceback {error!r}", None, time.monotonic() - started)


def _state_of(folder: Path) -> list[tuple[str, object]]:
    return list(load_reward_model(folder).model.state_dict().items())


def _resumed(run: Path) -> dict[str, object]:
    config = read_run_config(run)
    ledger = open_run(config, run, resume=True)
    table, model = prepare_table_and_model(config, run, str)
    countries = prepare_countries(config, table, model, run, str).countries
    rewards = {name: data.reference for name, data in countries.items()}
    return {"records": ledger.read(), "table": table.to_pylist(), **rewards}
