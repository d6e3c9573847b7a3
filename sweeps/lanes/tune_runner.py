"""Trainings through Ray Tune: a search or a list of jobs goes in, records go to the ledger.

The driver alone writes: a Tune callback appends each record as its trial ends. A trial that
raises becomes a failed record with its error, and the others go on. A trial whose lane died goes
on in another, from its last rung. Tune's own snapshots are never read back.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, FailureConfig, RunConfig, TuneConfig
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter

from scpo.files.buckets import remove_place
from scpo.files.places import absolute, below
from sweeps.config import LanesConfig
from sweeps.jobs.job import Job
from sweeps.jobs.job_records import failed_record, pruned_record
from sweeps.lanes.lane import RECORD_KEY, Lane
from sweeps.lanes.lane_limit import LaneLimit, can_grow, count_fits
from sweeps.lanes.pending_watch import PendingWatch
from sweeps.lanes.progress import Listener
from sweeps.ledger.records import Ledger, TrialRecord
from sweeps.run.workspace import Workspace
from sweeps.search.country_search import CountrySearch
from sweeps.search.rung_scheduler import RungScheduler

TUNE_FOLDER = ".tune"  # Tune's own files while an experiment runs; nothing reads them back
MAX_RESTARTS = 2  # of a trial whose lane died; lost spot nodes that Ray knows of do not count


class LedgerCallback(Callback):
    """Appends the record of every trial that ends to the ledger.

    Args:
        ledger: Where records go.
        listen: Called with each record after it is durable.
    """

    def __init__(self, ledger: Ledger, listen: Listener) -> None:
        self.ledger = ledger
        self.listen = listen

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's snapshot nothing: the ledger is the state."""
        return {}

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Append a rung; it is a training of its own, and a lane that takes over leaves it out."""
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
        """Append a trial that raised."""
        self._add(failed_record(Job(**trial.config), _last_error(trial)))

    def _add(self, record: TrialRecord) -> None:
        """Make a record durable, then tell."""
        self.ledger.append(record)
        self.listen(record)


def count_lanes(config: LanesConfig, *, num_jobs: int) -> int:
    """Return how many lanes the cluster holds now, at most one a job; 0 only where it can grow.

    Raises:
        RuntimeError: Not one lane fits, and no nodes can come; the message shows the arithmetic.
    """
    fits = count_fits(lane_needs(config))
    if fits < 1 and not can_grow():
        have = ray.cluster_resources()
        raise RuntimeError(
            f"A lane needs {config.cpus:g} CPUs and {config.gpus:g} GPUs on one node, but the "
            f"cluster has {have.get('CPU', 0):g} and {have.get('GPU', 0):g}. Lower lanes.cpus or "
            "lanes.gpus."
        )
    return min(config.num_lanes or fits, fits, num_jobs)


def describe_lanes(config: LanesConfig, *, num_jobs: int) -> str:
    """Return how many lanes there will be, with what each takes of the cluster.

    Raises:
        RuntimeError: As of `count_lanes`.
    """
    have = ray.cluster_resources()
    parts = [f"{config.cpus:g} of {have.get('CPU', 0):g} CPUs"]
    if config.gpus:
        parts.append(f"{config.gpus:g} of {have.get('GPU', 0):g} GPUs")
    lanes = count_lanes(config, num_jobs=num_jobs)
    wanted = min(config.num_lanes or 1, num_jobs)
    asked = f" now, {wanted} asked for of the autoscaler" if lanes < wanted and can_grow() else ""
    return f"{lanes} lanes{asked}, each {' and '.join(parts)}"


def lane_needs(config: LanesConfig) -> dict[str, float]:
    """Return what a lane takes, by Ray's names."""
    return {"CPU": config.cpus, **({"GPU": config.gpus} if config.gpus else {})}


def run_search(
    search: CountrySearch,
    num_trials: int,
    workspace: Workspace,
    lanes: LanesConfig,
    ledger: Ledger,
    run: Path,
    listen: Listener,
) -> None:
    """Run `num_trials` trials of a search in lanes."""
    scheduler = RungScheduler(search.limits.reduction, ledger.read())
    _fit(
        {},
        workspace,
        lanes,
        ledger,
        run,
        listen,
        num_trials,
        search=search,
        scheduler=scheduler,
    )


def run_jobs(
    jobs: Sequence[Job],
    workspace: Workspace,
    lanes: LanesConfig,
    ledger: Ledger,
    run: Path,
    listen: Listener,
) -> None:
    """Run a fixed list of jobs in lanes; nothing for an empty list."""
    if not jobs:
        return
    space = {
        name: tune.sample_from(_FieldOfJob([asdict(job) for job in jobs], name))
        for name in asdict(jobs[0])
    }
    space["trial_id"] = tune.grid_search([job.trial_id for job in jobs])
    _fit(space, workspace, lanes, ledger, run, listen, 1, num_jobs=len(jobs))


class _FieldOfJob:
    """Returns a field of the job whose trial_id a grid point names."""

    def __init__(self, jobs: list[dict[str, Any]], name: str) -> None:
        self.values = {job["trial_id"]: job[name] for job in jobs}

    def __call__(self, config: Mapping[str, Any]) -> Any:
        return self.values[config["trial_id"]]


def _fit(
    space: dict[str, Any],
    workspace: Workspace,
    lanes: LanesConfig,
    ledger: Ledger,
    run: Path,
    listen: Listener,
    num_samples: int,
    *,
    search: CountrySearch | None = None,
    scheduler: RungScheduler | None = None,
    num_jobs: int | None = None,
) -> None:
    """Run one Tune experiment over reused lanes."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # the ledger is the log
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "inf"  # and the state: a snapshot copies all trials
    storage = absolute(below(workspace.place or run, TUNE_FOLDER))
    num_jobs, resources = num_jobs or num_samples, lane_needs(lanes)
    count_lanes(lanes, num_jobs=num_jobs)
    most = min(lanes.num_lanes or num_jobs, num_jobs)
    limited = (
        ConcurrencyLimiter(search, most) if search else BasicVariantGenerator(max_concurrent=most)
    )
    limit = LaneLimit(limited, resources, most, asks=lanes.num_lanes is not None and can_grow())
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(Lane, workspace=workspace), resources),
        param_space=space,
        tune_config=TuneConfig(
            search_alg=limited,
            scheduler=scheduler,
            num_samples=num_samples,
            reuse_actors=True,
        ),
        run_config=RunConfig(
            storage_path=storage,
            callbacks=[LedgerCallback(ledger, listen), PendingWatch(resources), limit],
            failure_config=FailureConfig(max_failures=MAX_RESTARTS),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    finally:
        limit.release()
    remove_place(storage)


def _last_error(trial: Any) -> str:
    """Return the last line of a failed trial's error."""
    file = trial.error_file
    text = Path(file).read_text(encoding="utf-8").strip() if file and Path(file).exists() else ""
    return text.splitlines()[-1] if text else "the lane died without a word"
