"""Does a search that starts from the probe's front find more? Hypervolume after 10 and 20 trials.

Made-up worlds of three countries each, MiniLM, real trainings in lanes: every country is searched
twice with the same sampler and seed, once from plain fine-tuning and the paper's constants, once
with points of the probe's front after them. Printed are the hypervolumes (accuracy times share of
the pairs, validation users) and the mean difference with its 95 % interval over countries, a
bootstrap over worlds. Takes minutes, so `make bench` leaves it out.

    SCPO_BACKBONE=.venv/minilm python tests/benchmarks/seeding_study.py --out runs/seeding
"""

import argparse
import os
from pathlib import Path

import numpy as np

from scpo.config import parse_config
from sweeps.config import SweepConfig
from sweeps.ledger.records import TrialRecord
from sweeps.ranking.pareto import hypervolume
from sweeps.ranking.ranking import REFERENCE
from sweeps.run.inputs import open_workspace
from sweeps.run.run_folder import open_run
from sweeps.stages.search import search_countries

COUNTRIES = ("Arvandia", "Belmora", "Cestria")
NUM_TRIALS = 20
MARKS = (10, 20)
NUM_POINTS = 4


def make_config(world: int, num_points: int, cache: Path) -> SweepConfig:
    """Return the search of one world, from the probe's points or without."""
    raw = {
        "name": f"seeding-{world}-{num_points}",
        "countries": list(COUNTRIES),
        "data": {
            "source": "synthetic",
            "synthetic": {
                "num_countries": 6,
                "users_per_country": 36,
                "interactions_per_user": 2,
                "outlier_share": 0.2,
                "seed": world,
            },
        },
        "split": {"validation_share": 0.35, "seed": world},
        "global_model": {
            "backbone": os.environ.get("SCPO_BACKBONE", ".venv/minilm"),
            "epochs": 2.0,
            "learning_rate": 2e-4,
            "max_pairs": 480,
        },
        "encoder": {"max_tokens": 96},
        "training": {"pairs_per_step": 24, "learning_rate": 2e-4, "epochs": 1.0},
        "search": {
            "num_trials": NUM_TRIALS,
            "folds": 1,
            "learning_rate": [5e-5, 4e-4],
            "epochs": [0.5, 1.0],
            "max_consensus_drop": 0.3,
            "seed": world,
            "probe_points": num_points,
        },
        "cache": str(cache),
    }
    return parse_config(SweepConfig, raw, "seeding study")


def search_world(world: int, num_points: int, out: Path) -> list[TrialRecord]:
    """Return the search records of one world, in the order in which trials ended."""
    config = make_config(world, num_points, out / "cache")
    run = out / config.name
    ledger = open_run(config, run, resume=True)
    search_countries(config, open_workspace(config, run, print), ledger, run, print)
    return [record for record in ledger.read() if record.purpose == "search"]


def volume(records: list[TrialRecord], country: str, num_trials: int) -> float:
    """Return the hypervolume of a country's first trials, those that keep the constraint."""
    mine = [record for record in records if record.country == country][:num_trials]
    values = [
        (
            record.objectives["validation_accuracy"],
            record.objectives["pairs_trained"] / record.counts["pairs_available"],
        )
        for record in mine
        if record.state == "complete" and record.feasible
    ]
    return hypervolume(np.array(values).reshape(-1, 2), REFERENCE)


def describe(num_trials: int, volumes: np.ndarray) -> str:
    """Return the comparison at one number of trials; volumes has shape (worlds, countries, 2)."""
    difference = volumes[..., 1] - volumes[..., 0]
    draws = np.random.default_rng(0).integers(len(difference), size=(10_000, len(difference)))
    low, high = np.quantile(difference[draws].mean(axis=(1, 2)), (0.025, 0.975))
    without, seeded = volumes.mean(axis=(0, 1))
    return (
        f"{num_trials} trials: {without:.4f} without, {seeded:.4f} from the probe's points; "
        f"{difference.mean():+.4f} ({low:+.4f} to {high:+.4f}), better in "
        f"{int((difference > 0).sum())}, worse in {int((difference < 0).sum())} of "
        f"{difference.size} countries"
    )


def main() -> None:
    """Search all worlds and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs; resumed")
    parser.add_argument("--worlds", type=int, default=5)
    arguments = parser.parse_args()
    volumes = np.zeros((len(MARKS), arguments.worlds, len(COUNTRIES), 2))
    for world in range(arguments.worlds):
        for arm, num_points in enumerate((0, NUM_POINTS)):
            records = search_world(world, num_points, arguments.out)
            for place, country in enumerate(COUNTRIES):
                for mark, num_trials in enumerate(MARKS):
                    volumes[mark, world, place, arm] = volume(records, country, num_trials)
        print(f"after world {world}")
        for mark, num_trials in enumerate(MARKS):
            print("  " + describe(num_trials, volumes[mark, : world + 1]), flush=True)


if __name__ == "__main__":
    main()
