"""What a trial costs beside its training in a sharded lane, and whether the lane's memory stays.

MiniLM on two ZeRO-2 workers over gloo. The overhead is the driver's wall time less the seconds in
the training loop: copy of the weights, new engine, proof of the warm start, evaluation, and the
way to the driver and back. Compared with a Ray Train run per trial, whose model the driver loads
and evaluates, in the same process and on the same pairs. Then trials of 5 s of training follow
each other: the share of time that is training. Memory is the workers' resident set.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import psutil
import ray
from figures import figure_line, machine, spread
from workload import load_minilm, save_model

from scpo.config import SplitConfig, SyntheticConfig, TrainingConfig
from scpo.countries.build import steer_countries
from scpo.countries.scoring import score_pairs
from scpo.data.sources.synthetic import make_synthetic
from scpo.distributed.ray_training import train_on_ray
from scpo.distributed.worker_group import WorkerGroup
from scpo.evaluation.held_out import evaluate_margins
from scpo.models.loading import load_reward_model
from scpo.models.model_source import find_model
from scpo.models.reward_model import content_hash
from sweeps.jobs.job import Job
from sweeps.jobs.job_inputs import job_training, select_pairs, training_set
from sweeps.lanes.standing_group import StandingGroup
from sweeps.run.workspace import Workspace

COUNTRY = "Arvandia"
NUM_TRIALS = 20
MEMORY_AFTER = 2  # trials
LONG_TRIAL_S, NUM_LONG = 5.0, 4  # seconds of training, for the share of time that a lane works
MODEL_TRIAL = 5  # whose training is made so long, and repeated with other seeds
TRAINING = TrainingConfig(pairs_per_step=24, precision="fp32")
CLUSTER = WorkerGroup(2, zero_stage=2)


def make_workspace(folder: Path) -> Workspace:
    """Return a small country and MiniLM with a reward head, written into a folder."""
    model = save_model(load_minilm(), folder / "model")
    world = make_synthetic(
        SyntheticConfig(num_countries=1, users_per_country=8, interactions_per_user=3, seed=1)
    )
    steered = steer_countries(
        world.interactions,
        [COUNTRY],
        load_reward_model(str(model)),
        content_hash(model),
        split=SplitConfig(),
        max_tokens=64,
        cache=folder / "cache",
        precision="fp32",
    )
    return Workspace(find_model(model), steered.countries, TRAINING)


def make_job(number: int, epochs: float = 1.0) -> Job:
    """Return one of the trials; they differ in all that a search sets, but not in epochs."""
    return Job(
        f"trial-{number}",
        "search",
        COUNTRY,
        "scpo_tuned",
        learning_rate=1e-5 * (1 + number % 3),
        epochs=epochs,
        seed=number,
        retention=0.4 + 0.1 * (number % 5),
        strength=0.5 * (number % 4),
    )


def train_nested(job: Job, workspace: Workspace, folder: Path) -> float:
    """Return the overhead of a trial that is a Ray Train run of its own."""
    start = time.perf_counter()
    data = workspace.countries[job.country]
    labelled, selection = select_pairs(job, data)
    result = train_on_ray(
        workspace.model,
        training_set(data, labelled, selection),
        job_training(job, TRAINING),
        CLUSTER,
        out=folder,
    )
    trained = load_reward_model(str(folder))
    margin = score_pairs(trained, data, data.pairs_in(job.part), precision="fp32")
    evaluate_margins(margin, data, job.part)
    return time.perf_counter() - start - result.train_s


def workers_bytes() -> list[int]:
    """Return the resident set of each worker that this process's Ray started."""
    sizes = []
    for process in psutil.Process().children(recursive=True):
        if "RayTrainWorker" in " ".join(process.cmdline()):
            sizes.append(process.memory_info().rss)
    return sizes


def main() -> None:
    """Measure and print both lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=NUM_TRIALS)
    parser.add_argument("--nested", type=int, default=2)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
    )
    overheads, setups, evaluations, trainings = [], [], [], []
    memory: dict[int, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        workspace = make_workspace(root)
        with StandingGroup(workspace, CLUSTER, root / "run") as lane:
            for number in range(1, arguments.trials + 1):
                start = time.perf_counter()
                record = lane.train(make_job(number))
                wall_s = time.perf_counter() - start
                if record.state != "complete":
                    raise RuntimeError(f"A trial must be complete, but {record.error}.")
                overheads.append(wall_s - float(record.times["train_s"]))
                setups.append(float(record.times["setup_s"]))
                evaluations.append(float(record.times["evaluate_s"]))
                trainings.append(float(record.times["train_s"]))
                memory[number] = workers_bytes()
            job = make_job(MODEL_TRIAL, LONG_TRIAL_S / trainings[MODEL_TRIAL - 1])
            start = time.perf_counter()
            long = [lane.train(replace(job, seed=seed)) for seed in range(NUM_LONG)]
            long_wall_s = time.perf_counter() - start
        nested = [
            train_nested(replace(make_job(number), save_to=None), workspace, root / f"n{number}")
            for number in range(1, arguments.nested + 1)
        ]
    ray.shutdown()
    later = overheads[1:]
    print(
        figure_line(
            "overhead of a sharded trial after a lane's first, two ZeRO-2 workers, median",
            statistics.median(later),
            "s",
            reach="<= 0.6",
            against="a Ray Train run per trial, evaluated by the driver",
            on=machine("fp32"),
            detail={
                **spread(later),
                "first_s": overheads[0],
                "setup_s": statistics.median(setups[1:]),
                "evaluate_s": statistics.median(evaluations[1:]),
                "train_s": statistics.median(trainings[1:]),
                "nested_s": statistics.median(nested),
            },
        )
    )
    long_s = sum(
        float(record.times[name]) for record in long for name in ("train_s", "evaluate_s")
    )
    print(
        figure_line(
            "share of time that a sharded lane trains and evaluates, trials one after another",
            long_s / long_wall_s,
            "of the time",
            reach=">= 0.9",
            against="the driver's wall time",
            on=machine("fp32"),
            detail={"work_s": long_s / NUM_LONG, "trials": NUM_LONG},
        )
    )
    early, late = memory[min(MEMORY_AFTER, arguments.trials)], memory[arguments.trials]
    print(
        figure_line(
            f"memory of a sharded lane's workers after trial {arguments.trials} / after trial "
            f"{MEMORY_AFTER}, the worst worker",
            max(after / before for before, after in zip(early, late, strict=True)),
            "x",
            reach="<= 1.1",
            against="the same workers",
            on=machine("fp32"),
            detail={
                f"after_{number}_mb": max(sizes) / 1e6
                for number, sizes in memory.items()
                if number in (1, 2, 5, 10, 15, arguments.trials)
            },
        )
    )


if __name__ == "__main__":
    main()
