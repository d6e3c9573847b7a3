"""What every lane does: it runs jobs one after another, as the trials of a Tune experiment.

A lane keeps what jobs share; a job costs its training and nothing else. Everything random is
seeded by the job: the second job of a lane equals the first of another. A job that fails has a
failed record and the lane continues; a lane that is lost raises, and its job goes to another.
"""

import math
from abc import abstractmethod
from typing import Any
from uuid import uuid4

from ray.tune import Trainable

from scpo.files.places import Place
from sweeps.config import LanesConfig
from sweeps.jobs.folds import folds_of, pool_folds
from sweeps.jobs.job import Job
from sweeps.jobs.job_inputs import rung_job
from sweeps.jobs.job_records import failed_record
from sweeps.lanes.hangs.signs import Signs, Watched
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import OBJECTIVES
from sweeps.run.workspace import Workspace
from sweeps.search.rung_scheduler import rungs_of

RECORD_KEY = "record"


class JobFailed(RuntimeError):
    """A job that cannot be done, in this lane or another; the message is of its record."""


class LaneLost(Exception):
    """A lane that died with its job, which another lane can do."""


class LaneNotStarted(LaneLost):
    """A lane that never worked: no room, or it cannot load the model."""


class Lane(Trainable):
    """A Tune trainable that runs one job a trial and is reused for the next."""

    def setup(
        self,
        config: dict[str, Any],
        *,
        workspace: Workspace | None = None,
        lanes: LanesConfig | None = None,
        folder: Place | None = None,
        book: Any = None,
    ) -> None:
        """Prepare what jobs share, and the first job.

        `book` is the actor of a `SignBook` that watches the lane, None for none.

        Raises:
            ValueError: `tune.with_parameters` gave no workspace.
            LaneNotStarted: The model cannot be loaded.
        """
        if workspace is None or lanes is None or folder is None:
            raise ValueError("A lane needs its workspace: wrap it by tune.with_parameters.")
        self.workspace = workspace
        self.lanes = lanes
        self.folder = folder  # of the run, as every node reaches it
        self.watched = None if book is None else Watched(book, uuid4().hex)
        self.signs = Signs(self.watched)
        self.open()
        self._start_job(config)

    @abstractmethod
    def open(self) -> None:
        """Prepare what jobs share."""

    @abstractmethod
    def run_fold(self, job: Job, fold: int) -> TrialRecord:
        """Train and judge a job, or its rung, on one of its folds.

        Raises:
            ValueError, RuntimeError: The job cannot be done.
            LaneLost: The lane cannot continue.
        """

    def recover(self) -> None:
        """Make ready for the next job, after one that failed."""

    def cleanup(self) -> None:
        """End the lane; Tune calls it when it has no job left for it."""
        self.signs.close()

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
        job = self.job if rung is None else rung_job(self.job, self.folds[0], rung)
        try:
            records = [self.run_fold(job, fold) for fold in range(len(self.folds))]
            record = pool_folds(records, max_consensus_drop=job.max_consensus_drop)
        except (ValueError, RuntimeError) as error:
            kind = "" if isinstance(error, JobFailed) else f"{type(error).__name__}: "
            rung, record = None, failed_record(self.job, f"{kind}{error}")
            self.recover()
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

    def _start_job(self, config: dict[str, Any]) -> None:
        self.job = Job(**config)
        self.folds = folds_of(self.workspace.countries[self.job.country], self.job.folds)
        num_labelled = len(self.folds[0].pairs_in("train")) if self.job.rungs else 0
        self.rungs = rungs_of(self.job.rungs, num_labelled)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: the record is the result."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing: an unfinished job starts again."""
