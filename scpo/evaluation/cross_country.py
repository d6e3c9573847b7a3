"""Whether a country's model became one for its country only: other countries, worst one, movement.

In come the rewards of all models on all countries' pairs. `country_matrix` judges each country's
model on each country's pairs, beside the global model; `worst_countries` names the country that
a model serves worst; `movements` tells how far a model's rewards are from the global model's.

Legend: P pairs, U responses.
"""

from collections.abc import Sequence

import numpy as np

from scpo.arrays import Row
from scpo.evaluation.pair_scores import GLOBAL, PairScores, own_labels, split_label
from scpo.statistics.bootstrap import intervals_by_user
from scpo.statistics.rank_correlation import rank_correlation


def country_matrix(scores: Sequence[PairScores]) -> list[Row]:
    """Return every model on every country's pairs, those of one part, as rows of a table.

    Returns:
        By column: `model`, its label; `arm`; `model_country`, whose model it is, None for a
        model for all; `country`, whose pairs these are; `accuracy`, 0..1, a tie being wrong;
        `against_global`, the accuracy minus the global model's on the same pairs; both with the
        ends of their intervals; `pairs` and `users`.

    Raises:
        ValueError: A country lacks the global model.
    """
    countries = [each.country for each in scores]
    rows = []
    for each in scores:
        right = np.array([each.margin(label) > 0 for label in each.rewards], dtype=np.float64)
        gains = right - (each.margin(GLOBAL) > 0)
        figures = intervals_by_user([*right, *gains], each.user)
        accuracies, differences = figures[: len(right)], figures[len(right) :]
        for label, accuracy, against in zip(each.rewards, accuracies, differences, strict=True):
            owner, arm = split_label(label, countries)
            rows.append(
                {
                    "model": label,
                    "arm": arm,
                    "model_country": owner,
                    "country": each.country,
                    **accuracy.columns("accuracy"),
                    **against.columns("against_global", "against_"),
                    "pairs": len(each),
                    "users": accuracy.users,
                }
            )
    return rows


def worst_countries(cells: Sequence[Row]) -> list[Row]:
    """Return the worst country of each model, and of each arm with every country's own model.

    `cells` are those of `country_matrix`. Models that not every country was judged by are left
    out, as are arms that a country has no model of.

    Returns:
        By column: `model`, a label, or the arm where every country has its own (`own`);
        `country`, the one with the lowest accuracy; `accuracy` with `low` and `high`, that
        country's own interval, which leaves out that the lowest of several is a little too low;
        `mean`, the plain mean of the countries' accuracies; `countries`, how many there are.
    """
    countries = list(dict.fromkeys(cell["country"] for cell in cells))
    groups: dict[tuple[str, bool], list[Row]] = {}
    for cell in cells:
        groups.setdefault((cell["model"], False), []).append(cell)
        if cell["model_country"] == cell["country"]:
            groups.setdefault((cell["arm"], True), []).append(cell)
    rows = []
    for (model, own), group in groups.items():
        if len(group) == len(countries):
            worst = min(group, key=lambda cell: float(cell["accuracy"]))
            figure = {name: worst[name] for name in ("country", "accuracy", "low", "high")}
            mean = float(np.mean([cell["accuracy"] for cell in group]))
            head = {"model": model, "own": own}
            rows.append({**head, **figure, "mean": mean, "countries": len(group)})
    return rows


def movements(scores: Sequence[PairScores]) -> list[Row]:
    """Return how far the models that judge each country moved from the global model.

    Returns:
        By column: `model`, `arm` and `country`; `rank_correlation`, Spearman's over all
        responses of the pairs, None where all rewards of a model are equal; `agreement`, the
        share of pairs that both models order alike, whatever was chosen, with its interval;
        `responses`, U, and `pairs`.

    Raises:
        ValueError: A country lacks the global model.
    """
    countries = [each.country for each in scores]
    rows = []
    for each in scores:
        labels = own_labels(each.rewards, each.country, countries)
        signs = np.sign(each.margin(GLOBAL))
        _, once = np.unique(each.responses, return_index=True)
        reference = each.rewards[GLOBAL].ravel()[once]
        alike = [np.sign(each.margin(label)) == signs for label in labels.values()]
        agreements = intervals_by_user(alike, each.user)
        for (arm, label), agreement in zip(labels.items(), agreements, strict=True):
            rewards = each.rewards[label].ravel()[once]
            found = rank_correlation(rewards, reference)
            rows.append(
                {
                    "model": label,
                    "arm": arm,
                    "country": each.country,
                    "rank_correlation": None if np.isnan(found) else found,
                    **agreement.columns("agreement", "agreement_"),
                    "responses": len(reference),
                    "pairs": len(each),
                }
            )
    return rows
