"""Lanes: reused Tune actors in which trainings run one after another.

A lane loads the model once and keeps tokens, reference rewards and base weights; for the next
job it copies the base weights back, so a job costs its training and nothing else. Everything
random is seeded by the job: the second job of a lane equals the first of another.
"""

import math
from typing import Any

import torch
from ray.tune import Trainable
from torch import Tensor

from scpo.countries.country_data import CountryData
from scpo.models.devices import pick_device
from scpo.models.loading import load_reward_model
from scpo.models.reward_model import RewardModel
from sweeps.jobs.folds import folds_of, pool_folds
from sweeps.jobs.job import Job, rung_job
from sweeps.jobs.job_records import failed_record, run_job
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import OBJECTIVES
from sweeps.run.workspace import Workspace
from sweeps.search.rung_scheduler import rungs_of

RECORD_KEY = "record"


class Lane(Trainable):
    """A Tune trainable that runs one job a trial and is reused for the next."""

    def setup(self, config: dict[str, Any], *, workspace: Workspace | None = None) -> None:
        """Load the model and keep its base weights.

        Raises:
            ValueError: `tune.with_parameters` gave no workspace.
        """
        if workspace is None:
            raise ValueError("A lane needs its workspace: wrap it by tune.with_parameters.")
        torch.set_num_threads(workspace.num_threads)
        self.workspace = workspace
        self.reward: RewardModel = self._load()
        self.base: dict[str, Tensor] = {
            name: value.clone() for name, value in self.reward.model.state_dict().items()
        }
        self._start_job(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next job."""
        self._start_job(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run the job, or its next rung; the result holds the record as JSON and the objectives.

        The result of a rung has `pruned` set: that is the trial's state if it ends there. A job
        that fails has a failed record and NaN as objectives; the lane continues.
        """
        rung = self.rungs.pop(0) if self.rungs else None
        try:
            record = pool_folds([self._train(data, rung) for data in self.folds])
        except (ValueError, RuntimeError) as error:
            rung, record = None, failed_record(self.job, f"{type(error).__name__}: {error}")
            self.reward = self._load()  # adapters may still be in it
        if rung is not None:
            record = record.model_copy(update={"purpose": "rung", "rung": rung})
        return {
            **dict.fromkeys(OBJECTIVES, math.nan),
            **record.objectives,
            RECORD_KEY: record.model_dump_json(),
            "pruned": rung is not None,
            "rung": rung,
            "done": rung is None,
        }

    def _load(self) -> RewardModel:
        workspace = self.workspace
        return load_reward_model(
            workspace.model, trust_remote_code=workspace.trust_remote_code
        ).to(pick_device())

    def _train(self, data: CountryData, rung: int | None) -> TrialRecord:
        """Train from the base weights on one fold, on a rung's pairs or on all."""
        self.reward.model.load_state_dict(self.base)
        for parameter in self.reward.model.parameters():
            parameter.grad = None
        job = self.job if rung is None else rung_job(self.job, data, rung)
        return run_job(job, data, self.reward, self.workspace.training, engine="torch")

    def _start_job(self, config: dict[str, Any]) -> None:
        self.job = Job(**config)
        self.folds = folds_of(self.workspace.countries[self.job.country], self.job.folds)
        num_labelled = len(self.folds[0].pairs_in("train")) if self.job.rungs else 0
        self.rungs = rungs_of(self.job.rungs, num_labelled)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: the record is the result."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing: an unfinished job starts again."""
