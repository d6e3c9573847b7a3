"""Lanes of several devices: a thin Tune actor beside a worker group that stays up.

The actor takes no CPU or GPU, so that it can never wait for what its own workers need: Ray Train
places those. It hands each job to the group's queue and waits. It stands on the head node, which
outlives the others.
"""

from sweeps.jobs.job import Job
from sweeps.lanes.lane import Lane, LaneLost
from sweeps.lanes.standing_group import StandingGroup
from sweeps.ledger.records import TrialRecord
from sweeps.run.workspace import worker_group

ACTOR_NEEDS = {"node:__internal_head__": 0.001}  # Tune refuses an actor that needs nothing


class ShardedLane(Lane):
    """A lane that trains through Ray Train and DeepSpeed."""

    group: StandingGroup | None = None

    def open(self) -> None:
        """Start the workers."""
        group = worker_group(self.lanes)
        self.group = StandingGroup(self.workspace, group, self.folder, self.watched)

    def run_fold(self, job: Job, fold: int) -> TrialRecord:
        """Train in the group; every rank judges a share of the pairs.

        Raises:
            JobFailed: The job cannot be done.
            LaneLost: The group did not start or died too often.
        """
        if self.group is None:
            raise LaneLost("The worker group is closed.")
        return self.group.train(job, fold)

    def cleanup(self) -> None:
        """End the workers too."""
        if self.group is not None:
            self.group.close()
            self.group = None
        super().cleanup()
