"""A whole search against the two scripts that a user would write instead, on the same settings.

The first is an afternoon's work: an Optuna study a country whose objective weighs the pairs,
trains TRL's RewardTrainer with its loss overridden to take weights, and evaluates on the
validation users, one trial after another on all cores. It gets the reference rewards for nothing.
The second is what Ray's documentation shows: a Ray Train run a trial. A few are measured, one at
a time on both cores, with this project's own loop inside; the others are counted as alike. Both
get the settings that our search proposed. TRL's loop keeps its defaults in all else (dropout,
schedule, padding), so its accuracies differ by noise: both means stand in the detail.

MiniLM in float32 on synthetic countries whose texts have the lengths of PRISM's. Ours counts from
the start of Ray to the last record, scoring included. The hours of a sweep of the paper's size, 7
countries of 40 trials, are extrapolated: what stands beside the trials here, as often as there are
more countries, and the trials.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import ray
import torch
from bench_lanes import (
    COUNTRIES,
    NUM_LANES,
    epoch_s,
    jobs_of,
    make_config,
    prepare,
    start_lanes,
    sweep,
)
from bench_sharded_lane import train_nested
from datasets import Dataset, disable_progress_bars
from figures import figure_line, machine
from transformers import PrinterCallback
from transformers.utils import logging as transformers_logging
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer
from workload import load_minilm, load_plain_minilm, make_countries, save_model

from scpo.arrays import IntArray
from scpo.countries.country_data import CountryData
from sweeps.jobs.job import Job
from sweeps.jobs.job_inputs import select_pairs
from sweeps.ledger.records import TrialRecord
from sweeps.run.workspace import Workspace

MAX_TOKENS = 256
PAIRS_PER_STEP = 24
SECONDS_OF_TRAINING = 10.0  # of a trial of ours
LARGE = (7, 40)  # countries and trials of each, of the paper's size
LARGE_TRIALS = LARGE[0] * LARGE[1]


class WeightedTrainer(RewardTrainer):
    """TRL's RewardTrainer whose pairs have weights, which its collator carries as margins."""

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the weighted mean of the pairs' losses."""
        weights = inputs.pop("margin")
        outputs = model(**inputs)
        chosen, rejected = torch.chunk(outputs.logits.squeeze(-1), chunks=2)
        loss = -(weights * torch.nn.functional.logsigmoid(chosen - rejected)).mean()
        return (loss, outputs) if return_outputs else loss


def pair_tokens(data: CountryData, which: IntArray) -> dict[str, list[list[int]]]:
    """Return the tokens of some pairs as TRL takes them."""
    return {
        f"{side}_ids": [data.texts.tokens_of(number).tolist() for number in ends[which]]
        for side, ends in (("chosen", data.pairs.chosen), ("rejected", data.pairs.rejected))
    }


def peer_objective(job: Job, data: CountryData, folder: Path) -> float:
    """Weigh, train and judge one setting as the script would; return validation accuracy."""
    reward = load_plain_minilm()
    labelled, selection = select_pairs(job, data)
    kept = labelled[selection.keep]
    trainer = WeightedTrainer(
        model=reward.model,
        args=RewardConfig(
            output_dir=str(folder),
            per_device_train_batch_size=PAIRS_PER_STEP,
            per_device_eval_batch_size=PAIRS_PER_STEP,
            num_train_epochs=job.epochs,
            learning_rate=job.learning_rate,
            max_length=MAX_TOKENS,
            seed=job.seed,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to="none",
            dataloader_pin_memory=False,
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=Dataset.from_dict(
            pair_tokens(data, kept) | {"margin": selection.weights[selection.keep].tolist()}
        ),
        processing_class=reward.tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return judge(trainer, data)


def judge(trainer: RewardTrainer, data: CountryData) -> float:
    """Return the share of validation pairs whose chosen response gets the higher reward."""
    which = data.pairs_in("validation")
    tokens = Dataset.from_dict(pair_tokens(data, which) | {"margin": [1.0] * len(which)})
    rewards = []
    trainer.model.eval()
    with torch.no_grad():
        for start in range(0, len(tokens), PAIRS_PER_STEP):
            batch = trainer.data_collator(
                [tokens[n] for n in range(start, min(start + PAIRS_PER_STEP, len(tokens)))]
            )
            batch.pop("margin")
            rewards.append(torch.stack(trainer.model(**batch).logits.squeeze(-1).chunk(2)))
    chosen, rejected = torch.cat(rewards, dim=1)
    return float((chosen > rejected).float().mean())


def run_script(jobs: Sequence[Job], workspace: Workspace, folder: Path) -> list[float]:
    """Run a study a country over the settings given; return each job's accuracy."""
    found = {}
    for country in COUNTRIES:
        mine = [job for job in jobs if job.country == country]
        study = optuna.create_study(direction="maximize")
        for number, _ in enumerate(mine):
            study.enqueue_trial({"setting": number})

        def objective(trial: optuna.Trial, mine: list[Job] = mine) -> float:
            job = mine[trial.suggest_int("setting", 0, len(mine) - 1)]
            data = workspace.countries[job.country]
            found[job.trial_id] = peer_objective(job, data, folder)
            return found[job.trial_id]

        study.optimize(objective, n_trials=len(mine))
    return [found[job.trial_id] for job in jobs]


def lines_of(
    records: Sequence[TrialRecord],
    ours_s: float,
    script_s: float,
    nested_s: Sequence[float],
    found: Sequence[float],
) -> list[str]:
    """Return the figures' lines."""
    ours = np.array([record.objectives["validation_accuracy"] for record in records])
    trained = [float(record.times["train_s"]) for record in records]
    tune_s = (statistics.mean(nested_s) + statistics.mean(trained)) * len(records)
    detail = {
        "ours_s": ours_s,
        "script_s": script_s,
        "trials": float(len(records)),
        "train_s": statistics.median(trained),
        "accuracy": float(ours.mean()),
        "script_accuracy": float(np.mean(found)),
    }
    judged = [float(record.times["evaluate_s"]) for record in records]
    work_s = (sum(trained) + sum(judged)) / NUM_LANES
    large_s = (ours_s - work_s) * LARGE[0] / len(COUNTRIES) + work_s * LARGE_TRIALS / len(records)
    hours = {
        name: seconds / 3600
        for name, seconds in (
            ("script_h", script_s * LARGE_TRIALS / len(records)),
            ("train_run_h", tune_s * LARGE_TRIALS / len(records)),
        )
    }
    return [
        figure_line(
            f"{LARGE[0]} countries of {LARGE[1]} trials of {statistics.median(trained):.0f} s",
            large_s / 3600,
            "h",
            reach="",
            against="the two scripts: script_h, train_run_h; all extrapolated",
            on=machine("fp32"),
            detail=hours,
        ),
        figure_line(
            f"a search of {len(records)} trials, times sooner than TRL and Optuna",
            script_s / ours_s,
            "x",
            reach=">= 8",
            against="an Optuna study a country over TRL's RewardTrainer, in one process",
            on=machine("fp32"),
            detail=detail,
        ),
        figure_line(
            f"a search of {len(records)} trials, times sooner than a Ray Train run a trial",
            tune_s / ours_s,
            "x",
            reach=">= 15",
            against=f"{len(nested_s)} Ray Train runs of two workers, one at a time, extrapolated",
            on=machine("fp32"),
            detail={"ours_s": ours_s, "nested_overhead_s": statistics.mean(nested_s)},
        ),
    ]


def main() -> None:
    """Measure and print the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=8, help="of each country")
    parser.add_argument("--users", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=SECONDS_OF_TRAINING)
    parser.add_argument("--nested", type=int, default=2)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    transformers_logging.set_verbosity_error()
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = save_model(load_minilm(), root / "model")
        started = time.perf_counter()
        start_lanes()
        workspace = prepare(
            model,
            root / "cache",
            COUNTRIES,
            make_countries(COUNTRIES, arguments.users, seed=1),
            MAX_TOKENS,
        )
        prepared_s = time.perf_counter() - started
        epochs = arguments.seconds / epoch_s(workspace, model)
        started = time.perf_counter()
        config = make_config(arguments.trials, epochs)
        records, _ = sweep(config, workspace, root / "run")
        ours_s = prepared_s + time.perf_counter() - started
        jobs = jobs_of(records)
        nested_s = [
            train_nested(job, workspace, root / f"nested{number}")
            for number, job in enumerate(jobs[: arguments.nested])
        ]
        ray.shutdown()
        started = time.perf_counter()
        found = run_script(jobs, workspace, root / "trl")
        script_s = time.perf_counter() - started
        for line in lines_of(records, ours_s, script_s, nested_s, found):
            print(line, flush=True)


if __name__ == "__main__":
    main()
