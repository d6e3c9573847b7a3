"""Trainings through Ray Tune: jobs go into lanes, records go to the ledger.

The driver alone writes: a Tune callback appends each record as its trial ends. A trial that
raises becomes a failed record with its error, and the others continue. A trial whose lane was lost
continues in another, from its last rung. Tune's own snapshots are never read back.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ray import tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig
from ray.tune.error import TuneError
from ray.tune.search import ConcurrencyLimiter

from scpo.distributed.ray_start import can_grow
from scpo.files.places import absolute
from scpo.files.pulse import pulse
from scpo.interrupts import Stopped
from scpo.text.terminal import one_line, warn
from sweeps.config import LanesConfig, SweepConfig
from sweeps.jobs.job import Job
from sweeps.jobs.job_records import failed_record, pruned_record, untrained_record
from sweeps.lanes.device_lane import DeviceLane
from sweeps.lanes.hangs.lane_watch import LaneWatch
from sweeps.lanes.lane import RECORD_KEY, LaneNotStarted
from sweeps.lanes.lane_count import LaneCount, StartTimeout, count_lanes
from sweeps.lanes.sharded_lane import ACTOR_NEEDS, ShardedLane
from sweeps.ledger.records import Ledger, TrialRecord
from sweeps.run.workspace import Workspace
from sweeps.search.job_source import MAX_LOSSES, JobList, JobSource
from sweeps.search.rung_scheduler import RungScheduler


def run_jobs(
    jobs: Sequence[Job],
    workspace: Workspace,
    config: SweepConfig,
    ledger: Ledger,
    run: Path,
    on_record: Callable[[TrialRecord], None],
) -> None:
    """Run a list of jobs, each in the lanes that the configuration gives it.

    The record of a job that trains nothing is made here.
    """
    by_lanes: dict[LanesConfig, list[Job]] = {}
    for job in jobs:
        if job.is_untrained:
            record = untrained_record(job, workspace.countries[job.country])
            ledger.append(record)
            on_record(record)
        else:
            by_lanes.setdefault(config.lanes_of(job.purpose, job.country), []).append(job)
    for lanes, own in by_lanes.items():
        run_trials(JobList(own), workspace, lanes, ledger, run, on_record)


def run_trials(
    source: JobSource,
    workspace: Workspace,
    lanes: LanesConfig,
    ledger: Ledger,
    run: Path,
    on_record: Callable[[TrialRecord], None],
    *,
    scheduler: RungScheduler | None = None,
) -> None:
    """Run the jobs of a source in lanes, as one Tune experiment.

    Args:
        source: Gives the jobs.
        workspace: Model and data.
        lanes: Size and number of the lanes.
        ledger: Takes the records.
        run: The run's folder.
        on_record: Called with each record once the ledger holds it.
        scheduler: Stops trials early; None for never.

    Raises:
        RuntimeError: Not one lane fits, or none started in time.
        Stopped: Tune was interrupted: it ends without an error, and jobs are left.
        Exception: What the ledger, a listener of it or `on_record` raised.
    """
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # the ledger is the log
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "inf"  # and the state: a snapshot copies all trials
    count_lanes(lanes, num_jobs=source.num_jobs)  # refuses what never fits
    folder = absolute(workspace.place or run)
    most = min(lanes.num_lanes or source.num_jobs, source.num_jobs)
    limiter = ConcurrencyLimiter(source, most)
    lane_count = LaneCount(
        limiter, lanes, most, may_request=lanes.num_lanes is not None and can_grow()
    )
    kind, needs = (ShardedLane, ACTOR_NEEDS) if lanes.workers > 1 else (DeviceLane, lanes.needs)
    watch = LaneWatch(lanes)
    lane = tune.with_parameters(
        kind, workspace=workspace, lanes=lanes, folder=folder, book=watch.book
    )
    tune_config = TuneConfig(
        search_alg=limiter,
        scheduler=scheduler,
        num_samples=source.max_trials,
        reuse_actors=True,
    )
    callbacks = [LedgerCallback(ledger, on_record, source), StartTimeout(lanes.needs), lane_count]
    # Tune's own files, which nothing reads back, stay off slow disks and buckets.
    with TemporaryDirectory(prefix="scpo-tune-", ignore_cleanup_errors=True) as storage:
        run_config = RunConfig(
            storage_path=storage,
            callbacks=callbacks,
            # Tune would save each trial at its end, one more call to its lane.
            checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
            failure_config=FailureConfig(max_failures=0),  # the source gives a lost job again
            verbose=0,
        )
        tuner = tune.Tuner(
            tune.with_resources(lane, needs), tune_config=tune_config, run_config=run_config
        )
        try:
            with watch, own_errors():
                tuner.fit()
        finally:
            lane_count.release()
    if source.is_interrupted:
        raise Stopped(
            "Stopped by an interrupt: finished trainings are kept, and nothing further was "
            "trained or tested. Run the same command with --resume to go on."
        )


@contextmanager
def own_errors() -> Iterator[None]:
    """Raise what a callback raised, where Tune raises its own error with that one's traceback."""
    try:
        yield
    except TuneError as error:
        cause: BaseException = error
        while isinstance(cause, TuneError) and cause.__context__ is not None:
            cause = cause.__context__
        raise cause from None


class LedgerCallback(Callback):
    """Appends the record of every trial that ends to the ledger, then passes it on."""

    def __init__(
        self, ledger: Ledger, on_record: Callable[[TrialRecord], None], source: JobSource
    ) -> None:
        self.ledger = ledger
        self.on_record = on_record
        self.source = source
        self.has_result = False
        self.num_given_up = 0  # jobs that lost their lane too often

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tell that the driver goes on."""
        pulse.beat()

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Append a rung; it is a training of its own, which a lane that takes over omits."""
        self.has_result = True
        if result.get("pruned"):
            self.ledger.append(TrialRecord.model_validate_json(result[RECORD_KEY]))
            left = tuple(rung for rung in trial.config["rungs"] if rung > result["rung"])
            trial.config = {**trial.config, "rungs": left}

    def on_trial_complete(
        self, iteration: int, trials: list[Any], trial: Any, **info: Any
    ) -> None:
        """Append a trial that returned its record, or ended at a rung."""
        record = TrialRecord.model_validate_json(trial.last_result[RECORD_KEY])
        if trial.last_result.get("pruned"):
            record = pruned_record(record, Job(**trial.config))
        self._add(record)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Append a trial that lost its lane, unless another lane does it.

        Raises:
            RuntimeError: Not one lane has worked so far, and this one could not start, or two
                jobs lost every lane that they were given.
        """
        file = Path(trial.error_file or "")
        text = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
        error = text.splitlines()[-1] if text else "the lane died without an error message"
        if not self.has_result:
            _refuse_unstarted(text, error)
        job = Job(**trial.config)
        if self.source.is_given_again(job.trial_id):
            warn(f"{job.trial_id}: its lane died ({one_line(error)}), so it is trained again.")
            return
        self._add(failed_record(job, error, lane_lost=True))
        self.num_given_up += 1
        if self.num_given_up > 1 and not self.has_result:
            raise RuntimeError(
                f"No lane finished a training: {self.num_given_up} trainings lost "
                f"{MAX_LOSSES + 1} lanes each, the last because of: {one_line(error)}. Mend that, "
                "then run the same command with --resume."
            )

    def _add(self, record: TrialRecord) -> None:
        self.ledger.append(record)
        self.on_record(record)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # the ledger is the state, so Tune's snapshot holds none


def _refuse_unstarted(text: str, error: str) -> None:
    """Refuse a lane that can never work, by the error it died of.

    Raises:
        RuntimeError: It said so itself, or its node cannot import it.
    """
    if (unstarted := f"{LaneNotStarted.__name__}: ") in error:
        raise RuntimeError(error.partition(unstarted)[2])
    if "failed to import on the worker" in text:
        raise RuntimeError(
            f"A lane could not start: its node cannot import it ({one_line(error)}). Install "
            "scpo, of this version, on every node; `scpo doctor` compares them."
        )
