"""Lanes of one device: a trial's cost beside its training, busy lanes, and a naive sweep.

MiniLM in float32, two lanes of one thread, two synthetic countries; epochs are set so that trials
train for the seconds asked for. A trial's overhead is the wall time of its lane from one trial's
end to the next, less the training loop and the pass over validation texts that gives its
objective; it is compared with a trial that starts a Ray Train run of its own. Lanes are busy in
those two; warm-up ends when each has ended a trial. The naive sweep runs the same settings one
after another, each in a process of its own that loads the model, scores the country's texts,
tokenises, trains and evaluates with this project's own functions on all cores that
OMP_NUM_THREADS leaves it, and must find the same accuracies. Preparation and start of the lanes
count as the sweep's time.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import torch
from bench_sharded_lane import train_nested
from figures import figure_line, machine, spread
from workload import load_minilm, save_model

from scpo.config import SplitConfig, SyntheticConfig, TrainingConfig, parse_config
from scpo.countries.build import steer_countries
from scpo.data.sources.synthetic import make_synthetic
from scpo.models.loading import load_reward_model
from scpo.models.model_source import find_model
from scpo.models.reward_model import content_hash
from sweeps.config import SweepConfig
from sweeps.jobs.job import Job
from sweeps.jobs.run_job import run_job
from sweeps.ledger.records import Ledger, TrialRecord
from sweeps.run.workspace import Workspace
from sweeps.stages.search import search_countries

COUNTRIES = ("Arvandia", "Belmora")
NUM_LANES = 2
MAX_TOKENS = 128


def synthetic_countries(users: int) -> pa.Table:
    """Return the interactions of both countries, with the texts as they are made."""
    world = make_synthetic(
        SyntheticConfig(num_countries=2, users_per_country=users, interactions_per_user=3, seed=1)
    )
    return world.interactions


def prepare(
    model: Path,
    cache: Path,
    countries: tuple[str, ...],
    interactions: pa.Table,
    max_tokens: int = MAX_TOKENS,
) -> Workspace:
    """Return countries with reference rewards; scored anew where the cache lacks them."""
    steered = steer_countries(
        interactions,
        list(countries),
        load_reward_model(str(model)),
        content_hash(model),
        split=SplitConfig(),
        max_tokens=max_tokens,
        cache=cache,
        precision="fp32",
    )
    training = TrainingConfig(pairs_per_step=24, precision="fp32")
    return Workspace(find_model(model), steered.countries, training)


def start_lanes() -> None:
    """Start Ray with a CPU, and a thread, a lane."""
    ray.init(
        address="local",
        num_cpus=NUM_LANES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
    )


def make_config(num_trials: int, epochs: float) -> SweepConfig:
    """Return a search whose trials are all about as long."""
    return parse_config(
        SweepConfig,
        {
            "name": "lanes",
            "countries": list(COUNTRIES),
            "global_model": {"name": "written-by-hand"},
            "search": {
                "num_trials": num_trials,
                "folds": 1,
                "sampler": "random",
                "retention": [0.9, 1.0],
                "epochs": [epochs, epochs + 1e-6],
            },
            "lanes": {"cpus": 1.0},
        },
        "bench_lanes.py",
    )


def sweep(
    config: SweepConfig, workspace: Workspace, run: Path
) -> tuple[list[TrialRecord], list[float]]:
    """Search, and return the records and when each came, in seconds."""
    ends: list[float] = []

    def note(line: str) -> None:
        if line.lstrip().startswith("["):
            ends.append(time.perf_counter())

    ledger = Ledger(run)
    search_countries(config, workspace, ledger, run, note)
    records = [record for record in ledger.read() if record.purpose == "search"]
    if any(record.state != "complete" for record in records):
        raise RuntimeError(f"Trials must be complete, but {[r.error for r in records]}.")
    return records, ends


def epoch_s(workspace: Workspace, model: Path) -> float:
    """Return the seconds that an epoch of training takes on one thread."""
    tried = Job("tried", "search", COUNTRIES[0], "full", seed=0, learning_rate=1e-5, epochs=0.3)
    reward = load_reward_model(str(model))
    data, threads = workspace.countries[COUNTRIES[0]], torch.get_num_threads()
    torch.set_num_threads(1)
    record = run_job(tried, data, reward, workspace.training, engine="torch")
    torch.set_num_threads(threads)
    return float(record.times["train_s"]) / tried.epochs


def busy_lines(records: list[TrialRecord], ends: list[float], nested_s: list[float]) -> list[str]:
    """Return the lines of busy lanes and of a trial's overhead, after warm-up."""
    warm, last = ends[NUM_LANES - 1], ends[-NUM_LANES]  # both lanes have work between the two
    trained, judged = (
        [float(record.times[name]) for record in records] for name in ("train_s", "evaluate_s")
    )
    worked = [sum(times) for times in zip(trained, judged, strict=True)]
    lane_s = NUM_LANES * (last - warm)
    busy_s = sum(  # what of each trial's work lies between the two
        max(0.0, min(end, last) - max(end - work, warm))
        for end, work in zip(ends, worked, strict=True)
    )
    overhead = (lane_s - busy_s) * statistics.mean(worked) / busy_s
    detail = {
        "train_s": statistics.median(trained),
        "evaluate_s": statistics.median(judged),
        "trials": float(len(records)),
    }
    on = machine("fp32")
    return [
        figure_line(
            "overhead of a trial in a lane, mean",
            overhead,
            "s",
            reach="<= 0.3",
            against=f"a Ray Train run per trial: {statistics.median(nested_s):.1f} s",
            on=on,
            detail=detail | {f"nested_{name}": value for name, value in spread(nested_s).items()},
        ),
        figure_line(
            f"{NUM_LANES} lanes: time training and validating / wall time after warm-up",
            busy_s / lane_s,
            "fraction",
            reach=">= 0.95",
            against="1, always at work",
            on=on,
            detail=detail,
        ),
    ]


def naive_trial(model: Path, users: int, job: Job) -> float:
    """Return the validation accuracy of one setting, everything done anew in this process."""
    with tempfile.TemporaryDirectory() as cache:
        interactions = synthetic_countries(users)
        workspace = prepare(model, Path(cache), (job.country,), interactions)
    reward = load_reward_model(str(model))
    record = run_job(
        job, workspace.countries[job.country], reward, workspace.training, engine="torch"
    )
    return record.objectives["validation_accuracy"]


def run_naively(model: Path, users: int, jobs: list[Job]) -> tuple[float, list[float]]:
    """Return the seconds of one process a setting, one after another, and their accuracies."""
    started = time.perf_counter()
    found = []
    for job in jobs:
        asked = json.dumps({"model": str(model), "users": users, "job": asdict(job)})
        done = subprocess.run(
            [sys.executable, __file__, "--naive-trial", asked], stdout=subprocess.PIPE, check=True
        )
        found.append(float(done.stdout.split()[-1]))
    return time.perf_counter() - started, found


def naive_line(
    records: list[TrialRecord], sweep_s: float, naive_s: float, found: list[float]
) -> str:
    """Return the line of the sweep against the naive way.

    Raises:
        RuntimeError: The two found other accuracies.
    """
    ours = [record.objectives["validation_accuracy"] for record in records]
    if any(abs(one - other) > 1e-9 for one, other in zip(ours, found, strict=True)):
        raise RuntimeError(f"The results must be equal, but got {ours} and {found}.")
    trained = statistics.median(float(record.times["train_s"]) for record in records)
    return figure_line(
        f"a sweep of {len(records)} trials, times sooner than the naive way",
        naive_s / sweep_s,
        "x",
        reach=">= 4",
        against="a new process a trial: score, tokenise, train; equal results",
        on=machine("fp32"),
        detail={"sweep_s": sweep_s, "naive_s": naive_s, "train_s": trained},
    )


def jobs_of(records: list[TrialRecord]) -> list[Job]:
    """Return the jobs of some search records."""
    fields: tuple[str, ...] = ("retention", "strength", "learning_rate", "epochs")
    jobs = []
    for record in records:
        point: dict[str, Any] = {
            name: record.config[name] for name in fields if name in record.config
        }
        jobs.append(
            Job(record.trial_id, "search", record.country, record.arm, seed=record.seed, **point)
        )
    return jobs


def main() -> None:
    """Measure and print the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=6, help="of each country")
    parser.add_argument("--users", type=int, default=24)
    parser.add_argument(
        "--seconds", type=float, nargs=2, default=(5.0, 10.0), help="of training: busy, naive"
    )
    parser.add_argument("--nested", type=int, default=2)
    parser.add_argument("--naive-trial", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.naive_trial:
        asked = json.loads(arguments.naive_trial)
        print(naive_trial(Path(asked["model"]), asked["users"], Job(**asked["job"])))
        return
    start_lanes()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = save_model(load_minilm(), root / "model")
        started = time.perf_counter()
        workspace = prepare(model, root / "cache", COUNTRIES, synthetic_countries(arguments.users))
        prepared_s = time.perf_counter() - started
        epoch = epoch_s(workspace, model)
        short_epochs, long_epochs = (seconds / epoch for seconds in arguments.seconds)
        started = time.perf_counter()
        records, _ = sweep(make_config(arguments.trials, long_epochs), workspace, root / "long")
        sweep_s = prepared_s + time.perf_counter() - started
        config = make_config(arguments.trials, short_epochs)
        short, ends = sweep(config, workspace, root / "short")
        nested_s = [
            train_nested(job, workspace, root / f"nested{number}")
            for number, job in enumerate(jobs_of(short)[: arguments.nested])
        ]
        ray.shutdown()
        for line in busy_lines(short, ends, nested_s):
            print(line, flush=True)
        naive_s, found = run_naively(model, arguments.users, jobs_of(records))
        print(naive_line(records, sweep_s, naive_s, found), flush=True)


if __name__ == "__main__":
    main()
