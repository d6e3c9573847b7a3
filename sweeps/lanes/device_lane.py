"""Lanes of one device: a reused Tune actor that holds the model and trains in its own process.

It loads the model once and keeps tokens, reference rewards and base weights, which it copies back
for the next job.
"""

import torch
from torch import Tensor

from scpo.models.devices import pick_device
from scpo.models.loading import load_reward_model
from scpo.models.reward_model import LoadedModel
from scpo.training.warm_start import ProvenStarts
from sweeps.jobs.job import Job
from sweeps.jobs.run_job import run_job
from sweeps.lanes.lane import Lane, LaneNotStarted
from sweeps.ledger.records import TrialRecord


class DeviceLane(Lane):
    """A lane that trains on the one device of its actor."""

    reward: LoadedModel
    base: dict[str, Tensor]
    starts: ProvenStarts

    def open(self) -> None:
        """Load the model and keep its base weights."""
        torch.set_num_threads(max(1, int(self.lanes.cpus)))
        try:
            self.recover()
        except (ValueError, OSError) as error:
            raise LaneNotStarted(str(error)) from error
        weights = self.reward.model.state_dict()
        self.base = {name: value.clone() for name, value in weights.items()}
        self.starts = ProvenStarts(self.base)

    def recover(self) -> None:
        """Load the model: adapters may still be in it."""
        self.reward = load_reward_model(
            self.workspace.model, trust_remote_code=self.workspace.trust_remote_code
        ).to(pick_device())

    def run_fold(self, job: Job, fold: int) -> TrialRecord:
        """Train from the base weights on one fold."""
        with self.signs.working(job.trial_id):
            self.reward.model.load_state_dict(self.base)
            for parameter in self.reward.model.parameters():
                parameter.grad = None
            data, training = self.folds[fold], self.workspace.training
            return run_job(job, data, self.reward, training, engine="torch", starts=self.starts)
