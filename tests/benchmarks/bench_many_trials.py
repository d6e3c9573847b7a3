"""What the driver of a search costs a trial once thousands have ended, and what memory it keeps.

The whole driver runs: studies, journal, Ray Tune with two reused lanes, ledger, progress lines.
Only the training is a stub, which returns a record at once. All trials are of one country, the
worst case for a sampler that reads every earlier trial. Driver time is what the driver is busy
between the ends of trials: the wall time, less what it waits for the lanes and less what the
sampler's methods take. Those two are told apart in `waiting_ms` and `sampler_ms`.
"""

import argparse
import io
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import ray
from bench_sharded_lane import COUNTRY, make_workspace
from figures import figure_line, machine
from optuna.samplers import TPESampler
from ray.tune import Trainable
from rich.console import Console

from scpo.config import parse_config
from sweeps.config import SweepConfig
from sweeps.jobs.job import Job
from sweeps.jobs.job_records import failed_record
from sweeps.lanes.lane import RECORD_KEY
from sweeps.ledger.records import AccuracyRecord, EvaluationRecord, Ledger, TrialRecord, UserCounts
from sweeps.stages.search import search_countries

NUM_TRIALS = 5000
EARLY = 500
LAST = 200
NUM_PAIRS = 250
NUM_USERS = 20
SAMPLING = ("infer_relative_search_space", "sample_relative", "sample_independent")


class StubLane(Trainable):
    """A lane whose job is a formula."""

    def setup(self, config: dict[str, Any], **kept: Any) -> None:
        self.job = Job(**config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.job = Job(**new_config)
        return True

    def step(self) -> dict[str, Any]:
        record = stub_record(self.job)
        return {
            **record.objectives,
            RECORD_KEY: record.model_dump_json(),
            "pruned": False,
            "rung": None,
            "done": True,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass


def stub_record(job: Job) -> TrialRecord:
    """Return a record as long as a real one; accuracy is a noisy function of the point."""
    if job.retention is None or job.strength is None:
        raise ValueError("A stub needs a point of the search space.")
    generator = np.random.default_rng(int(job.config_hash, 16))
    share = 0.6 + 0.1 * job.retention**0.5 * np.exp(-((job.strength - 1) ** 2) / 4)
    pairs = np.full(NUM_USERS, NUM_PAIRS // NUM_USERS)
    correct = generator.binomial(pairs, share)
    accuracy = AccuracyRecord(
        accuracy=float(correct.sum() / pairs.sum()),
        low=0.5,
        high=0.7,
        pairs=int(pairs.sum()),
        users=NUM_USERS,
        ties=0,
    )
    users = UserCounts(
        users=[f"user{number}" for number in range(NUM_USERS)],
        pairs=pairs.tolist(),
        correct=correct.tolist(),
    )
    evaluation = EvaluationRecord(
        part="validation",
        by_user=users,
        global_by_user=users,
        **dict.fromkeys(
            ("overall", "distinctive", "consensus", "global_overall", "length"), accuracy
        ),
    )
    kept = float(round(NUM_PAIRS * job.retention))
    return failed_record(job, "").model_copy(
        update={
            "state": "complete",
            "error": None,
            "objectives": {"validation_accuracy": accuracy.accuracy, "pairs_trained": kept},
            "constraints": {"consensus_drop": float(generator.normal(-0.1, 0.1))},
            "evaluation": evaluation,
            "counts": {"pairs_available": float(NUM_PAIRS), "pairs_trained": kept},
            "times": {**failed_record(job, "").times, "wall_s": 0.0, "train_s": 0.0},
        }
    )


class Clock:
    """Seconds of the sampler and of waiting, and the driver's state at the end of each trial."""

    def __init__(self) -> None:
        self.sampler_s = [0.0]
        self.waiting_s = [0.0]
        self.ends: list[tuple[float, float, float, float, float]] = []

    def note(self, line: str) -> None:
        """Take a line of progress; those of trials begin with a bracket."""
        if line.lstrip().startswith("["):
            rss = float(psutil.Process().memory_info().rss)
            spent = (self.sampler_s[0], self.waiting_s[0])
            self.ends.append((time.perf_counter(), time.process_time(), *spent, rss))

    def a_trial(self, first: int, last: int) -> dict[str, float]:
        """Return the milliseconds of a trial, of those in first..last, by what they went into."""
        ends = np.array(self.ends)
        spent = (ends[last - 1, :4] - ends[first - 1, :4]) * 1e3 / (last - first)
        wall, cpu, sampler, waiting = spent.tolist()
        return {
            "driver_ms": wall - sampler - waiting,
            "sampler_ms": sampler,
            "waiting_ms": waiting,
            "cpu_ms": cpu,
        }


def timed(method: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """Return a method that adds its time to `seconds`."""

    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            seconds[0] += time.perf_counter() - start

    return call


def run(num_trials: int, clock: Clock) -> None:
    """Search with stubs."""
    config = parse_config(
        SweepConfig,
        {
            "name": "many",
            "countries": [COUNTRY],
            "global_model": {"name": "written-by-hand"},
            "search": {"num_trials": num_trials},
        },
        "bench_many_trials.py",
    )
    plain = Console(file=io.StringIO())
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("sweeps.lanes.tune_runner.DeviceLane", StubLane),
    ):
        root = Path(folder)
        workspace = make_workspace(root)
        with mock.patch("sweeps.progress.progress_table.TextConsole", return_value=plain):
            search_countries(config, workspace, Ledger(root / "run"), root / "run", clock.note)


def main() -> None:
    """Measure and print both lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=NUM_TRIALS)
    num_trials = parser.parse_args().trials
    warnings.simplefilter("ignore")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
    )
    clock = Clock()
    for name in SAMPLING:
        setattr(TPESampler, name, timed(getattr(TPESampler, name), clock.sampler_s))
    with mock.patch("ray.wait", timed(ray.wait, clock.waiting_s)):
        run(num_trials, clock)
    ray.shutdown()
    late, early = (clock.a_trial(last - LAST, last) for last in (num_trials, EARLY))
    driver_ms = late.pop("driver_ms")
    detail = late | {f"after_{EARLY}_{name}": value for name, value in early.items()}
    print(
        figure_line(
            f"driver time of a trial at the end of {num_trials}, without the sampler's",
            driver_ms,
            "ms",
            reach="<= 15",
            against=f"`after_{EARLY}_driver_ms`, the same after {EARLY} trials",
            on=machine("stub objective"),
            detail=detail | {"trials_s": clock.ends[-1][0] - clock.ends[0][0]},
        )
    )
    early_mb, late_mb = (clock.ends[n - 1][4] / 1e6 for n in (EARLY, num_trials))
    print(
        figure_line(
            f"memory of the driver after {num_trials} trials / after {EARLY}",
            late_mb / early_mb,
            "x",
            reach="<= 1.1",
            against=f"the same process after {EARLY} trials",
            on=machine("stub objective"),
            detail={f"after_{EARLY}_mb": early_mb, f"after_{num_trials}_mb": late_mb},
        )
    )


if __name__ == "__main__":
    main()
