"""The search: one Optuna study per country behind Ray Tune's OptunaSearch, countries in turn.

Objectives are validation accuracy (maximise) and pairs trained (minimise); the space holds plain
fine-tuning (retention 1, strength 0) as a corner, which is one of the first trials. Studies are
rebuilt from the ledger when a run starts, so nothing that was finished is repeated and no trial
is left running for ever.
"""

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from scpo.config import LoraConfig
from sweeps.config import SearchConfig, SweepConfig
from sweeps.jobs.job import Job
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import OBJECTIVES, slug
from sweeps.samplers import make_sampler

MODES = ("max", "min")
LOGARITHMIC = ("learning_rate", "epochs", "lora_rank")

MAX_REFUSED = 200
STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}

Point = dict[str, float]


def search_space(config: SearchConfig) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions of the searched parameters."""
    space: dict[str, BaseDistribution] = {}
    for name in config.parameters:
        low, high = getattr(config, name)
        kind = IntDistribution if isinstance(low, int) else FloatDistribution
        space[name] = kind(low, high, log=name in LOGARITHMIC)
    return space


def clip_to_space(point: Mapping[str, float], config: SearchConfig) -> Point:
    """Return a point moved to the nearest one inside the space."""
    bounds = {name: getattr(config, name) for name in config.parameters}
    return {name: min(max(point[name], low), high) for name, (low, high) in bounds.items()}


def configured_numbers(config: SweepConfig) -> Point:
    """Return what the configuration's own trainings have of a point but retention and strength."""
    numbers: Point = {
        "learning_rate": config.training.learning_rate,
        "epochs": config.training.epochs,
    }
    if config.search.lora_rank is not None:
        numbers["lora_rank"] = (config.training.lora or LoraConfig()).rank
    return numbers


def point_of(record: TrialRecord, config: SearchConfig) -> Point:
    """Return the point of the search space that a search record tried."""
    point: Point = {}
    for name in config.parameters:
        value: Any = record.config[name]
        point[name] = value if isinstance(value, int) else float(value or 0.0)
    return point


class StudySearch(OptunaSearch):
    """OptunaSearch of one country that records constraints and fails what is not finite.

    Ray's own leaves a trial that reports NaN running for ever.

    Attributes:
        number: Number of the trial that was suggested last; a resumed search first gives the
            numbers that it lost.
        num_refused: Points that were known degenerate and never started.
    """

    def __init__(
        self,
        country: str,
        config: SearchConfig,
        storage: BaseStorage,
        first: Sequence[Point],
        find_fault: Callable[[Point], str | None],
    ) -> None:
        super().__init__(
            search_space(config),
            metric=list(OBJECTIVES),
            mode=list(MODES),
            sampler=make_sampler(config, country),
            study_name=study_name(country, config),
            storage=storage,
            points_to_evaluate=[dict(point) for point in first],
        )
        self.country = country
        self.config = config
        self.space = search_space(config)
        self.first = list(first)
        self.find_fault = find_fault
        self.known: set[int] = set()
        self.number = -1
        self.num_refused = 0

    def suggest(self, trial_id: str) -> Point:
        """Return the next point that may start; those known degenerate are failed at once.

        Raises:
            RuntimeError: None of many points may start.
        """
        fault: str | None = None
        study: Any = self._ot_study
        self.number += 1
        while self.number in self.known:
            self.number += 1
        attempt = 0
        for _ in range(MAX_REFUSED):
            study.sampler = make_sampler(
                self.config, self.country, number=self.number, attempt=attempt
            )
            point: Any = super().suggest(trial_id)
            fault = self.find_fault(point)
            if fault is None:
                return dict(point)
            self.num_refused += 1
            attempt += point not in self.first  # these were not drawn
            refused = self._ot_trials.pop(trial_id)
            refused.set_user_attr("refused", fault)
            study.tell(refused, state=TrialState.FAIL)
        raise RuntimeError(
            f"{self.country}: none of {MAX_REFUSED} points in a row may start ({fault}). Narrow "
            "search.retention and search.strength, or lower search.min_pairs."
        )

    def tell_known(self, records: Sequence[TrialRecord]) -> None:
        """Add finished trials of an earlier session to the study, in the order of proposing."""
        study: Any = self._ot_study
        for record in sorted(records, key=lambda record: _number_of(record.trial_id)):
            self.known.add(_number_of(record.trial_id))
            complete = record.state == "complete"
            study.add_trial(
                optuna.trial.create_trial(
                    state=STATES[record.state],
                    values=[record.objectives[o] for o in OBJECTIVES] if complete else None,
                    params=point_of(record, self.config),
                    distributions=self.space,
                    constraints=record.constraints if complete else None,
                    user_attrs={"trial_id": record.trial_id},
                )
            )

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study: complete with finite objectives, failed otherwise."""
        values = [(result or {}).get(name) for name in OBJECTIVES]
        if not error and result is not None and result.get("pruned"):
            self._ot_trials[trial_id].set_user_attr("rung", result["rung"])
            super().on_trial_complete(trial_id)  # told as pruned: no value of a part of the data
            return
        if error or any(value is None or not math.isfinite(value) for value in values):
            super().on_trial_complete(trial_id, None, error=True)
            return
        record = TrialRecord.model_validate_json((result or {})["record"])
        trial = self._ot_trials[trial_id]
        trial.set_user_attr("trial_id", record.trial_id)
        for name, value in record.constraints.items():
            trial.set_constraint(name, value)
        super().on_trial_complete(trial_id, result)


class CountrySearch(Searcher):
    """Gives trials of several studies in turn, so that lanes stay up across countries.

    Args:
        studies: Study by country.
        remaining: Trials still to give, by country.
        make_job: Turns country, trial number and point into a job.
        limits: When to give no more.
        spent_s: Seconds of training that earlier sessions spent.
    """

    def __init__(
        self,
        studies: Mapping[str, StudySearch],
        remaining: Mapping[str, int],
        make_job: Callable[[str, int, Point], Job],
        limits: SearchConfig,
        spent_s: float = 0.0,
    ) -> None:
        super().__init__()
        self.studies = studies
        self.remaining = dict(remaining)
        self.make_job = make_job
        self.limits = limits
        self.spent_s = spent_s
        self.started = time.monotonic()
        self.country_of: dict[str, str] = {}
        self.ended: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        """Return the next job as a Tune configuration, or that there is none."""
        if (limit := self._limit_reached()) is not None:
            self.ended[""] = limit
            self.remaining = dict.fromkeys(self.remaining, 0)
        country = max(self.remaining, key=lambda name: self.remaining[name], default=None)
        if country is None or self.remaining[country] <= 0:
            finished: str = Searcher.FINISHED
            return finished
        self.remaining[country] -= 1
        self.country_of[trial_id] = country
        study = self.studies[country]
        point = study.suggest(trial_id)
        return asdict(self.make_job(country, study.number, point))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass the outcome on to the country's study."""
        country = self.country_of[trial_id]
        self.studies[country].on_trial_complete(trial_id, result, error)
        self.spent_s += float((result or {}).get("time_total_s", 0.0))
        target = self.limits.target_accuracy
        if target is None or error or result is None or result.get("pruned"):
            return
        record = TrialRecord.model_validate_json(result["record"])
        if record.state != "complete" or not record.feasible:
            return
        if record.objectives[OBJECTIVES[0]] >= target:
            self.ended[country] = f"{record.trial_id} reached the target of {target:.1%}"
            self.remaining[country] = 0

    def _limit_reached(self) -> str | None:
        """Return which limit of the whole search is reached, or None."""
        limits = self.limits
        if limits.max_wall_s is not None and time.monotonic() - self.started >= limits.max_wall_s:
            return f"search.max_wall_s of {limits.max_wall_s:g} s is over"
        hours = self.spent_s / 3600
        if limits.max_device_hours is not None and hours >= limits.max_device_hours:
            return f"search.max_device_hours of {limits.max_device_hours:g} are spent"
        return None

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's snapshot nothing: studies are rebuilt from the ledger."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: studies are rebuilt from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: studies are rebuilt from the ledger."""


def study_name(country: str, config: SearchConfig) -> str:
    """Return a study's name: the country and a hash of the space."""
    space = {name: getattr(config, name) for name in config.parameters}
    digest = hashlib.sha256(repr(sorted(space.items())).encode()).hexdigest()[:8]
    return f"{slug(country)}-{digest}"


def _number_of(trial_id: str) -> int:
    """Return the number at the end of a search trial's name."""
    return int(trial_id.rsplit("-", 1)[1])
