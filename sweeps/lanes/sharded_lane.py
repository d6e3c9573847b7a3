"""Lanes of several devices: thin Tune actors that hand their jobs to a pool of worker groups.

Such an actor takes no CPU or GPU, so that it can never wait for what the workers need: Ray Train
places those. It stands on the head node, which outlives the others.
"""

from sweeps.jobs.job import Job
from sweeps.lanes.group_pool import Pool
from sweeps.lanes.lane import Lane
from sweeps.ledger.records import TrialRecord
from sweeps.run.worker_group import worker_group


class ShardedLane(Lane):
    """A lane that trains through Ray Train and DeepSpeed."""

    pool: Pool

    def open(self) -> None:
        """Prepare nothing: the pool has what jobs share."""

    def run_fold(self, job: Job, fold: int) -> TrialRecord:
        """Train in a group of the pool; every rank judges a share of the pairs.

        Raises:
            JobFailed: The job cannot be done.
            LaneLost: The group did not start or died too often, or the pool is gone.
        """
        return self.pool.train(worker_group(self.lanes), job, fold)
