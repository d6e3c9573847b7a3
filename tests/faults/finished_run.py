"""A run's folder as a finished sweep leaves it, made in this process without Ray.

Every file that shapes a figure is real: data, split, pins, global model, rewards, records, a final
model, weights of users. Figures and the page are left out: readers make them.
"""

from dataclasses import replace
from pathlib import Path

import torch

from scpo.config import parse_config
from scpo.models.loading import load_reward_model
from sweeps.config import SweepConfig
from sweeps.jobs.job import Job
from sweeps.jobs.job_records import untrained_record
from sweeps.jobs.planned_jobs import arm_job, curve_jobs
from sweeps.jobs.run_job import run_job
from sweeps.ledger.words import GLOBAL, TUNED_ARM
from sweeps.probe.user_features import weigh_users
from sweeps.ranking.ranking import rank_records
from sweeps.ranking.recommendation import rule_of
from sweeps.report.model_names import MODELS_FILE, write_model_names
from sweeps.run.inputs import prepare_countries
from sweeps.run.pins import made_file
from sweeps.run.run_folder import open_run
from sweeps.run.table_and_model import prepare_table_and_model
from sweeps.run.workspace import Workspace

COUNTRY = "Arvandia"
MODEL = "models/arvandia"


def make_config(folder: Path, backbone: Path, seed: int) -> SweepConfig:
    world = {"num_countries": 2, "users_per_country": 16, "interactions_per_user": 2, "seed": seed}
    raw = {
        "name": "finished",
        "countries": [COUNTRY],
        "data": {"source": "synthetic", "synthetic": world},
        "split": {"seed": seed},
        "global_model": {"backbone": str(backbone), "learning_rate": 1e-3, "max_pairs": 30},
        "encoder": {"max_tokens": 96},
        "training": {"pairs_per_step": 100, "learning_rate": 1e-3, "precision": "fp32"},
        "search": {"num_trials": 2, "folds": 1, "min_pairs": 1},
        "curves": {"arms": ["full"], "budgets": [0.5], "seeds": [0]},
        "final": {"arms": ["full"]},
        "cache": str(folder / "cache"),
    }
    return parse_config(SweepConfig, raw, "test")


def jobs_of(config: SweepConfig, run: Path) -> list[Job]:
    """Return a search of two settings, a point of a curve, and two finals."""
    full = Job(
        "arvandia-0000", "search", COUNTRY, TUNED_ARM, 1e-3, 1.0, 0, retention=1.0, strength=0.0
    )
    final = replace(
        full,
        trial_id=f"arvandia-final-{TUNED_ARM}",
        purpose="final",
        save_to=str(run / MODEL),
    )
    return [
        full,
        replace(full, trial_id="arvandia-0001", retention=0.6, strength=1.0),
        *curve_jobs(config),
        arm_job(config, COUNTRY, "full", "final-full"),
        final,
    ]


def make_finished_run(folder: Path, backbone: Path, seed: int = 0) -> Path:
    """Train and write everything of a run on a world of its own, and return its folder."""
    torch.set_num_threads(1)
    config, run = make_config(folder, backbone, seed), folder / "run"
    ledger = open_run(config, run, resume=False)
    table, model = prepare_table_and_model(config, run, str)
    countries = prepare_countries(config, table, model, run, str).countries
    data = weigh_users(config, Workspace(model, countries, config.training), run, str).countries[
        COUNTRY
    ]
    ledger.append(untrained_record(arm_job(config, COUNTRY, GLOBAL, f"final-{GLOBAL}"), data))
    for job in jobs_of(config, run):
        ledger.append(
            run_job(job, data, load_reward_model(model), config.training, engine="torch")
        )
    with made_file(run, "names of models", run / MODELS_FILE):
        write_model_names(rank_records(ledger.read(), rule=rule_of(config)), run)
    return run
