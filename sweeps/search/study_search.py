"""One country's Optuna study behind Ray Tune's searcher."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch

from sweeps.config import SearchConfig
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import OBJECTIVES
from sweeps.search.samplers import make_sampler
from sweeps.search.space import Point, point_of, search_space, study_name

MODES = ("max", "min")
MAX_REFUSED = 200
STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


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


def _number_of(trial_id: str) -> int:
    """Return the number at the end of a search trial's name."""
    return int(trial_id.rsplit("-", 1)[1])
