"""The search: one Optuna study per country behind Ray Tune's OptunaSearch, countries in turn.

Objectives are validation accuracy (maximise) and pairs trained (minimise); the space holds plain
fine-tuning (retention 1, strength 0) as a corner, which is one of the first trials. Studies are
rebuilt from the ledger when a run starts, so nothing that was finished is repeated and no trial
is left running for ever.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ray.tune.search import Searcher

from sweeps.config import SearchConfig
from sweeps.jobs.job import Job
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import OBJECTIVES
from sweeps.search.space import Point
from sweeps.search.study_search import StudySearch


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
