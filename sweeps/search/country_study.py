"""The Optuna study of one country: it proposes points and learns from their results.

Objectives are validation accuracy (maximise) and pairs trained (minimise). The studies of a run
share one journal (`sweeps.search.journal`). They are rebuilt from the ledger at every start, so a
damaged journal costs nothing and no trial is left running.
"""

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.trial import Trial, TrialState

from sweeps.config import SearchConfig
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import OBJECTIVES
from sweeps.search.samplers import make_sampler
from sweeps.search.space import Point, point_of, search_space, space_hash

_MAX_REFUSED = 200
_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class CountryStudy:
    """The study of one country.

    Args:
        country: Its name.
        config: Space, sampler and seed.
        storage: Holds the study, which must not exist yet.
        first: Points to propose first, unless they are known.
        find_fault: Returns why a point must not start, or None.
        known: Search records of this country from earlier sessions.
        facts: Shown beside the study, by name.

    Attributes:
        num_refused: Points that `find_fault` refused.
    """

    def __init__(
        self,
        country: str,
        config: SearchConfig,
        storage: BaseStorage,
        first: Sequence[Point],
        find_fault: Callable[[Point], str | None],
        known: Sequence[TrialRecord] = (),
        facts: Mapping[str, str] | None = None,
    ) -> None:
        self.country = country
        self.config = config
        self.space = search_space(config)
        self.first = list(first)
        self.find_fault = find_fault
        self.num_refused = 0
        self.study = optuna.create_study(
            storage=storage,
            study_name=country,
            directions=["maximize", "minimize"],  # of OBJECTIVES
            sampler=make_sampler(config, country),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self.study.set_metric_names(list(OBJECTIVES))
        for name, value in {**(facts or {}), "space": space_hash(config)}.items():
            self.study.set_user_attr(name, value)
        tried = [point_of(record, config) for record in known]
        for point in first:
            if point not in tried:
                self.study.enqueue_trial(point)
        for record in sorted(known, key=_number_of):
            self._add(record)
        taken = set(map(_number_of, known))
        # Numbers that an earlier session lost come first.
        self.numbers = (number for number in itertools.count() if number not in taken)

    def ask(self) -> tuple[int, Trial]:
        """Return a new trial's number and the trial, whose `params` are a point that may start.

        Raises:
            RuntimeError: None of many points may start.
        """
        number, attempt, fault = next(self.numbers), 0, None
        for _ in range(_MAX_REFUSED):
            self.study.sampler = make_sampler(
                self.config, self.country, number=number, attempt=attempt
            )
            trial = self.study.ask(fixed_distributions=self.space)
            fault = self.find_fault(trial.params)
            if fault is None:
                return number, trial
            self.num_refused += 1
            attempt += trial.params not in self.first  # those were not drawn
            trial.set_user_attr("refused", fault)
            self.study.tell(trial, state=TrialState.FAIL)
        raise RuntimeError(
            f"{self.country}: none of {_MAX_REFUSED} points in a row may start ({fault}). Narrow "
            "search.retention and search.strength, or lower search.min_pairs."
        )

    def tell(self, trial: Trial, result: Mapping[str, Any] | None) -> None:
        """Tell the study a trial's result: complete, pruned, or failed where not finite.

        Args:
            trial: As of `ask`.
            result: As of `sweeps.lanes.lane.Lane.step`; None if the lane died.
        """
        if result is not None and result.get("pruned"):
            trial.set_user_attr("rung", result["rung"])
            self.study.tell(trial, state=TrialState.PRUNED)  # values of a part of the data: none
            return
        values = [float((result or {}).get(name, math.nan)) for name in OBJECTIVES]
        if result is None or not all(map(math.isfinite, values)):
            self.study.tell(trial, state=TrialState.FAIL)
            return
        record = TrialRecord.model_validate_json(result["record"])
        trial.set_user_attr("trial_id", record.trial_id)
        for name, value in _constraints_of(record).items():
            trial.storage.set_trial_system_attr(trial._trial_id, name, value)
        self.study.tell(trial, values)

    def _add(self, record: TrialRecord) -> None:
        complete = record.state == "complete"
        self.study.add_trial(
            optuna.trial.create_trial(
                state=_STATES[record.state],
                values=[record.objectives[name] for name in OBJECTIVES] if complete else None,
                params=point_of(record, self.config),
                distributions=self.space,
                system_attrs=_constraints_of(record) if complete else None,
                user_attrs={"trial_id": record.trial_id},
            )
        )


def _constraints_of(record: TrialRecord) -> dict[str, list[float]]:
    """Return a record's constraints as one list, the form that samplers and dashboard both read.

    `Trial.set_constraint` stores them by name, which optuna-dashboard (0.21) takes for none, so
    that an infeasible trial looks feasible. In both forms, each would count twice.
    """
    return {"constraints": list(record.constraints.values())} if record.constraints else {}


def _number_of(record: TrialRecord) -> int:
    return int(record.trial_id.rsplit("-", 1)[1])
