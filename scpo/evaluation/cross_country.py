"""Whether a country's model became one for its country only: other countries, worst one, movement.

In come the rewards of all models on all countries' pairs. `country_matrix` judges each country's
model on each country's pairs, beside the global model; `worst_countries` names the country that
a model serves worst; `movements` tells how far a model's rewards are from the global model's.

Legend: P pairs, U responses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from scpo.arrays import FloatArray
from scpo.evaluation.pair_scores import GLOBAL, PairScores, own_labels, split_label
from scpo.statistics.bootstrap import (
    NUM_RESAMPLES,
    divide_draws,
    quantile_ends,
    resample_sums,
    sum_by_user,
)


@dataclass(frozen=True)
class MatrixCell:
    """One model on the pairs of one country.

    Attributes:
        model: Its label.
        arm: Its arm.
        model_country: Whose model it is; None for a model for all.
        country: Whose pairs these are.
        accuracy: Share ordered right, 0..1; a tie is wrong.
        low: Lower end of the 95 % interval by user bootstrap; None with 1 user.
        high: Its upper end.
        against_global: Accuracy minus the global model's on the same pairs.
        against_low: Lower end of its interval.
        against_high: Its upper end.
        pairs: Number of pairs.
        users: Number of users.
    """

    model: str
    arm: str
    model_country: str | None
    country: str
    accuracy: float
    low: float | None
    high: float | None
    against_global: float
    against_low: float | None
    against_high: float | None
    pairs: int
    users: int


@dataclass(frozen=True)
class WorstCountry:
    """The country that a model, or an arm's models each at home, serve worst.

    Attributes:
        model: Label of the model; the arm where every country has its own.
        own: Whether each country was judged by its own model.
        country: The country with the lowest accuracy.
        accuracy: That accuracy.
        low: Lower end of that country's own interval, as of `MatrixCell`. Being picked as the
            lowest of several makes the figure a little too low, which the interval leaves out.
        high: Its upper end.
        mean: Plain mean of the countries' accuracies.
        countries: Number of countries.
    """

    model: str
    own: bool
    country: str
    accuracy: float
    low: float | None
    high: float | None
    mean: float
    countries: int


@dataclass(frozen=True)
class Movement:
    """How far a model's rewards moved from the global model's on one country's responses.

    Attributes:
        model: Its label.
        arm: Its arm.
        country: Whose responses these are.
        rank_correlation: Spearman's, over all responses of the pairs; None where all rewards of
            a model are equal.
        agreement: Share of pairs that both models order alike, whatever was chosen.
        agreement_low: Lower end of its 95 % interval by user bootstrap; None with 1 user.
        agreement_high: Its upper end.
        responses: Number of responses, U.
        pairs: Number of pairs.
    """

    model: str
    arm: str
    country: str
    rank_correlation: float | None
    agreement: float
    agreement_low: float | None
    agreement_high: float | None
    responses: int
    pairs: int


def country_matrix(
    scores: Sequence[PairScores], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> list[MatrixCell]:
    """Return every model on every country's pairs.

    Args:
        scores: One part's pairs of each country, with the global model among the models.
        num_resamples: Bootstrap draws, the same for all models of a country.
        seed: Seed of the draws.

    Raises:
        ValueError: A country lacks the global model.
    """
    countries = [each.country for each in scores]
    cells = []
    for each in scores:
        labels = list(each.rewards)
        right = np.array([each.margin(label) > 0 for label in labels], dtype=np.float64)
        difference = right - (each.margin(GLOBAL) > 0)
        sums = sum_by_user([*right, *difference, np.ones(len(each))], each.user)
        drawn = resample_sums(sums, num_resamples=num_resamples, seed=seed)
        shares = divide_draws(drawn[:, :-1], drawn[:, -1:])
        users = sums.shape[1]
        for row, label in enumerate(labels):
            owner, arm = split_label(label, countries)
            cells.append(
                MatrixCell(
                    label,
                    arm,
                    owner,
                    each.country,
                    float(right[row].mean()),
                    *quantile_ends(shares[:, row], users),
                    float(difference[row].mean()),
                    *quantile_ends(shares[:, len(labels) + row], users),
                    len(each),
                    users,
                )
            )
    return cells


def worst_countries(cells: Sequence[MatrixCell]) -> list[WorstCountry]:
    """Return the worst country of each model, and of each arm with every country's own model.

    Args:
        cells: As `country_matrix` returns them. Models that not every country was judged by are
            left out, as are arms that a country has no model of.
    """
    countries = list(dict.fromkeys(cell.country for cell in cells))
    groups: dict[tuple[str, bool], list[MatrixCell]] = {}
    for cell in cells:
        groups.setdefault((cell.model, False), []).append(cell)
        if cell.model_country == cell.country:
            groups.setdefault((cell.arm, True), []).append(cell)
    found = []
    for (model, own), group in groups.items():
        if len(group) == len(countries):
            worst = min(group, key=lambda cell: cell.accuracy)
            mean = float(np.mean([cell.accuracy for cell in group]))
            ends = worst.low, worst.high
            found.append(
                WorstCountry(model, own, worst.country, worst.accuracy, *ends, mean, len(group))
            )
    return found


def movements(
    scores: Sequence[PairScores], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> list[Movement]:
    """Return how far the models that judge each country moved from the global model.

    Args:
        scores: One part's pairs of each country, with the global model among the models.
        num_resamples: Bootstrap draws.
        seed: Seed of the draws.

    Raises:
        ValueError: A country lacks the global model, or a pair's name tells no responses.
    """
    countries = [each.country for each in scores]
    found = []
    for each in scores:
        labels = own_labels(each.rewards, each.country, countries)
        reference = response_rewards(each, GLOBAL)
        signs = np.sign(each.margin(GLOBAL))
        alike = [np.sign(each.margin(label)) == signs for label in labels.values()]
        sums = sum_by_user([*alike, np.ones(len(each))], each.user)
        drawn = resample_sums(sums, num_resamples=num_resamples, seed=seed)
        shares = divide_draws(drawn[:, :-1], drawn[:, -1:])
        for row, (arm, label) in enumerate(labels.items()):
            found.append(
                Movement(
                    label,
                    arm,
                    each.country,
                    _rank_correlation(response_rewards(each, label), reference),
                    float(np.mean(alike[row])),
                    *quantile_ends(shares[:, row], sums.shape[1]),
                    len(reference),
                    len(each),
                )
            )
    return found


def response_rewards(scores: PairScores, label: str) -> FloatArray:
    """Return a model's reward of each response that a pair holds, each response once, (U,).

    Raises:
        ValueError: A pair's name is not "interaction:chosen>rejected", or no such model.
    """
    interaction, colon, ends = np.strings.rpartition(scores.pair_id, ":")
    chosen, arrow, rejected = np.strings.partition(ends, ">")
    if not (np.all(colon == ":") and np.all(arrow == ">")):
        bad = scores.pair_id[(colon != ":") | (arrow != ">")][0]
        raise ValueError(
            f"{scores.country}: a pair's name must be `interaction:chosen>rejected`, but got "
            f"{str(bad)!r}."
        )
    scores.margin(label)  # refuses an unknown model
    names = np.concatenate(
        [np.strings.add(np.strings.add(interaction, ":"), end) for end in (chosen, rejected)]
    )
    _, first = np.unique(names, return_index=True)
    return np.asarray(scores.rewards[label].T.ravel()[first])


def _rank_correlation(rewards: FloatArray, reference: FloatArray) -> float | None:
    """Return Spearman's correlation; None where one side is constant."""
    if np.ptp(rewards) == 0 or np.ptp(reference) == 0:
        return None
    return float(spearmanr(rewards, reference).statistic)
