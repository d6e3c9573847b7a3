"""The search of all countries: their studies take turns, so that lanes stay up across countries.

The space of each holds plain fine-tuning (retention 1, strength 0) as a corner, which is one of
the first trials.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.trial import Trial

from scpo.statistics.wording import format_accuracy
from sweeps.config import SearchConfig
from sweeps.jobs.job import Job
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import OBJECTIVES
from sweeps.search.country_study import CountryStudy
from sweeps.search.job_source import JobSource
from sweeps.search.space import Point


def reaches_target(record: TrialRecord, limits: SearchConfig) -> bool:
    """Tell whether a trial of a search is so good that its country gets no more."""
    target = limits.target_accuracy
    if target is None or record.state != "complete" or not record.feasible:
        return False
    return record.objectives[OBJECTIVES[0]] >= target


def trials_left(known: Sequence[TrialRecord], limits: SearchConfig) -> int:
    """Return how many trials a country is still to get, whose search has left some records."""
    if any(reaches_target(record, limits) for record in known):
        return 0
    return max(0, limits.num_trials - len(known))


class CountrySearch(JobSource):
    """Gives the trials of several studies, always of the country that has most to come.

    Args:
        studies: Study by country.
        remaining: Trials still to give, by country.
        make_job: Turns country, trial number and point into a job.
        limits: When to give no more.
        spent_s: Device-seconds of training that earlier sessions spent.
        started: When this session's search began, by `time.monotonic`; None for now.

    Attributes:
        ended: Why a country's search ended early, by country; "" for all of them.
    """

    def __init__(
        self,
        studies: Mapping[str, CountryStudy],
        remaining: Mapping[str, int],
        make_job: Callable[[str, int, Point], Job],
        limits: SearchConfig,
        spent_s: float = 0.0,
        started: float | None = None,
    ) -> None:
        self.remaining = {country: max(0, count) for country, count in remaining.items()}
        super().__init__(sum(self.remaining.values()))
        self.studies = studies
        self.make_job = make_job
        self.limits = limits
        self.spent_s = spent_s
        self.started = time.monotonic() if started is None else started
        self.trials: dict[str, Trial] = {}  # Optuna's, by the job's trial id
        self.ended: dict[str, str] = {}
        self.to_follow: list[str] = []  # countries
        self.following: deque[Job] = deque()
        self._make_following: Callable[[str], Sequence[Job]] | None = None

    def follow_with(self, make: Callable[[str], Sequence[Job]], *, at_most: int) -> None:
        """Give further jobs of each country once its search is over, in the same lanes.

        Args:
            make: Called once a country; not called if Tune ends before.
            at_most: Jobs that it makes at most, of all countries.
        """
        self._make_following = make
        self.to_follow = list(self.studies)
        self.num_jobs += at_most

    def next_job(self) -> Job | None:
        """Return the next trial, or else the next job that follows a country's search."""
        return self._next_trial() or self._next_following()

    def _next_following(self) -> Job | None:
        searching = {job.country for job in (*self.given.values(), *self.lost)}
        for country in tuple(self.to_follow):
            if self._make_following is None or self.following:
                break
            if not self.remaining[country] and country not in searching:
                self.to_follow.remove(country)
                self.following.extend(self._make_following(country))
        return self.following.popleft() if self.following else None

    def _next_trial(self) -> Job | None:
        """Return the next trial, or None when all are given or a limit is reached."""
        if (limit := self._limit_reached()) is not None:
            self.ended[""] = limit
            self.remaining = dict.fromkeys(self.remaining, 0)
        country = max(self.remaining, key=lambda name: self.remaining[name])
        if self.remaining[country] == 0:
            return None
        self.remaining[country] -= 1
        number, trial = self.studies[country].ask()
        job = self.make_job(country, number, trial.params)
        self.trials[job.trial_id] = trial
        return job

    def has_more(self) -> bool:
        """Tell whether a country has trials to give, or jobs that follow them."""
        return bool(any(self.remaining.values()) or self.following or self.to_follow)

    def job_done(self, job: Job, result: dict[str, Any] | None) -> None:
        """Tell the country's study, and end its search at the target accuracy."""
        if job.trial_id not in self.trials:  # it follows the search
            return
        country = job.country
        self.studies[country].tell(self.trials.pop(job.trial_id), result)
        if result is None:
            return
        record = TrialRecord.model_validate_json(result["record"])
        self.spent_s += record.devices * float(result.get("time_total_s", 0.0))
        if reaches_target(record, self.limits):
            target = self.limits.target_accuracy
            self.ended[country] = (
                f"{record.trial_id} reached the target of {format_accuracy(target)}"
            )
            self.remaining[country] = 0

    def _limit_reached(self) -> str | None:
        limits = self.limits
        if limits.max_wall_s is not None and time.monotonic() - self.started >= limits.max_wall_s:
            return f"search.max_wall_s of {limits.max_wall_s:g} s is over"
        if limits.max_device_hours is not None and self.spent_s >= 3600 * limits.max_device_hours:
            return f"search.max_device_hours of {limits.max_device_hours:g} are spent"
        return None
