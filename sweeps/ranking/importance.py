"""Which searched parameter decided the accuracy in one country's search.

In comes a ranking; out come, per parameter that varied, a share of importance and the direction:
PED-ANOVA compares how the best trials spread over a parameter with how all trials do, and
Spearman's rank correlation says whether more of it went with a higher accuracy. Only complete
trials enter. With few trials nothing is said, and why.

Reference:
    Watanabe, Bansal and Hutter, PED-ANOVA: Efficiently quantifying hyperparameter importance in
    arbitrary subspaces, IJCAI 2023.
"""

import math
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator

from scpo.arrays import FloatArray
from scpo.statistics.rank_correlation import rank_correlation
from scpo.text.counts import format_count
from sweeps.ranking.ranking import CountryRanking

MIN_TRIALS = 8
NUM_TOP = 5  # trials that count as the best: fewer say nothing, so Optuna's documentation
LEAST_TOP_SHARE, MOST_TOP_SHARE = 0.1, 0.5
_LOGARITHMIC = ("learning_rate", "epochs", "steps", "lora_rank")
NOT_SEARCHED = ("budget", "folds")


@dataclass(frozen=True)
class ParameterImportance:
    """One parameter of the search space."""

    name: str  # its name in the record's configuration
    share: float  # its importance, 0..1; shares of a country sum to 1
    correlation: float  # Spearman's rank correlation with accuracy, -1..1


@dataclass(frozen=True)
class CountryImportance:
    """The parameters of one country's search."""

    country: str
    num_trials: int  # complete trials that were looked at
    parameters: tuple[ParameterImportance, ...]  # most important first
    missing: str | None  # why there are none; None where there are some


def country_importance(ranking: CountryRanking) -> CountryImportance:
    """Return how much each parameter decided the accuracy of a country's complete trials."""
    accuracy = np.array([setting.accuracy for setting in ranking.settings])
    values = _varied_parameters(ranking)
    missing = _missing_reason(accuracy, values)
    parameters: tuple[ParameterImportance, ...] = ()
    if missing is None:
        shares = _shares(accuracy, values)
        if shares is None:
            missing = "the best trials spread over every parameter as all trials do"
        else:
            found = [
                ParameterImportance(name, share, rank_correlation(values[name], accuracy))
                for name, share in shares.items()
            ]
            parameters = tuple(sorted(found, key=lambda one: (-one.share, one.name)))
    return CountryImportance(ranking.country, len(accuracy), parameters, missing)


def _varied_parameters(ranking: CountryRanking) -> dict[str, FloatArray]:
    """Return the numbers of each parameter that is set in every trial and not always alike."""
    configs = [setting.record.config for setting in ranking.settings]
    varied = {}
    for name in configs[0] if configs else ():
        column = [config.get(name) for config in configs]
        numbers = [float(value) for value in column if isinstance(value, float | int)]
        if name not in NOT_SEARCHED and len(numbers) == len(column) and len(set(numbers)) > 1:
            varied[name] = np.array(numbers)
    return varied


def _missing_reason(accuracy: FloatArray, values: dict[str, FloatArray]) -> str | None:
    num = len(accuracy)
    if num < MIN_TRIALS:
        return f"{format_count(num, 'complete trial')}, but at least {MIN_TRIALS} are needed"
    if not values:
        return "no parameter varied"
    worst_of_best = np.sort(accuracy)[::-1][math.ceil(_top_share(num) * num) - 1]
    if worst_of_best == accuracy.min():
        return "too many trials are equally accurate"
    return None


def _top_share(num_trials: int) -> float:
    return min(max(NUM_TOP / num_trials, LEAST_TOP_SHARE), MOST_TOP_SHARE)


def _shares(accuracy: FloatArray, values: dict[str, FloatArray]) -> dict[str, float] | None:
    """Return PED-ANOVA's importances as shares; None where all are 0."""
    space: dict[str, BaseDistribution] = {
        name: FloatDistribution(column.min(), column.max(), log=name in _LOGARITHMIC)
        for name, column in values.items()
    }
    trials = [
        optuna.trial.create_trial(
            value=float(value),
            params={name: float(column[row]) for name, column in values.items()},
            distributions=space,
        )
        for row, value in enumerate(accuracy)
    ]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # or it announces the study
    try:
        study = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    study.add_trials(trials)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=_top_share(len(accuracy)))
    found = evaluator.evaluate(study, params=list(values))
    total = sum(found.values())
    return {name: value / total for name, value in found.items()} if total > 0 else None
