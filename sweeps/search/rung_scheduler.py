"""Early stopping on nested pair budgets: one trial in so many goes on from a rung.

A rung is a number of labelled pairs. A trial trains on the first rung's pairs, then, from the
base weights again, on the next rung's, which hold the first's, and at last on all; each is a
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

from sweeps.ledger.records import TrialRecord

OBJECTIVE = "validation_accuracy"


def rungs_of(rungs: Sequence[int], num_labelled: int) -> list[int]:
    """Return the rungs that a country of so many labelled pairs has, short of all of them."""
    return [rung for rung in rungs if rung < num_labelled]


class RungScheduler(FIFOScheduler):
    """Stops a trial whose result at a rung is not among the best of its country.

    Args:
        reduction: One trial in so many goes on.
        known: Records of an earlier session; those of rungs count.
    """

    def __init__(self, reduction: int, known: Sequence[TrialRecord] = ()) -> None:
        super().__init__()
        self.reduction = reduction
        self.seen: dict[tuple[str, int], list[float]] = defaultdict(list)
        for record in known:
            if record.purpose == "rung" and record.rung is not None:
                self.seen[record.country, record.rung].append(record.objectives[OBJECTIVE])

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Return whether a trial goes on."""
        if not result.get("pruned"):
            return str(TrialScheduler.CONTINUE)
        seen = self.seen[trial.config["country"], result["rung"]]
        seen.append(float(result[OBJECTIVE]))
        goes_on = trial.config["exempt"] or is_among_best(seen[-1], seen, self.reduction)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's snapshot nothing: the ledger is the state."""
        return {}


def is_among_best(value: float, seen: Sequence[float], reduction: int) -> bool:
    """Tell whether fewer than 1 / reduction of the results, rounded up, are better than one."""
    better = sum(other > value for other in seen)
    return better < math.ceil(len(seen) / reduction)
