"""Early stopping on nested pair budgets: one trial in `reduction` continues after a rung.

A rung is a number of labelled pairs. A trial trains on the first rung's pairs, then, from the
base weights again, on the next rung's, which include the first's, and at last on all; each is a
point of a data-efficiency curve. At a rung a trial stops unless it is among the best 1 in
`reduction` of its country's results there (asynchronous successive halving). It ends by
returning; no actor is killed.

Reference:
    Li et al., A System for Massively Parallel Hyperparameter Tuning, 1810.05934, algorithm 2.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from sweeps.jobs.job import rung_id
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import OBJECTIVES


def rungs_of(rungs: Sequence[int], num_labelled: int) -> list[int]:
    """Return the rungs below a country's number of labelled pairs."""
    return [rung for rung in rungs if rung < num_labelled]


class RungScheduler(FIFOScheduler):
    """Stops a trial whose result at a rung is not among the best of its country.

    Args:
        reduction: One trial in so many continues.
        known: Records of earlier sessions; those of rungs count, until the rung is done again.
    """

    def __init__(self, reduction: int, known: Sequence[TrialRecord] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reduction = reduction
        # by country and rung, then by the rung's trial id
        self.accuracies: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
        for record in known:
            if record.purpose == "rung" and record.rung is not None:
                accuracy = record.objectives[OBJECTIVES[0]]
                self.accuracies[record.country, record.rung][record.trial_id] = accuracy

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Return whether a trial continues."""
        if not result.get("pruned"):
            return str(TrialScheduler.CONTINUE)
        rung, accuracy = result["rung"], float(result[OBJECTIVES[0]])
        accuracies = self.accuracies[trial.config["country"], rung]
        accuracies[rung_id(trial.config["trial_id"], rung)] = accuracy
        continues = trial.config["exempt"] or is_among_best(
            accuracy, [*accuracies.values()], self.reduction
        )
        return str(TrialScheduler.CONTINUE if continues else TrialScheduler.STOP)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # the ledger is the state, so Tune's snapshot holds none


def is_among_best(value: float, values: Sequence[float], reduction: int) -> bool:
    """Tell whether fewer than 1 / reduction of the values, rounded up, are better than one."""
    better = sum(other > value for other in values)
    return better < math.ceil(len(values) / reduction)
