"""k folds of small countries: every user judged by the one model that never saw it.

In come the pairs that each fold holds out, with the rewards of its own models; out comes one
`PairScores` a country, so that figures and intervals go over all its users.
"""

from collections.abc import Sequence

import numpy as np

from scpo.evaluation.pair_scores import PairScores


def pool_evaluations(evaluations: Sequence[Sequence[PairScores]], part: str) -> list[PairScores]:
    """Return each country's pairs of one part over all folds that judge it.

    Pairs of other parts are left out: what validates in one fold tests in the next.

    Args:
        evaluations: The pairs of all countries, a fold an entry; a single one comes as it is.
        part: "test", or "validation".

    Raises:
        ValueError: Folds that have not the same models, or share a user.
    """
    if len(evaluations) == 1:
        return list(evaluations[0])
    folds: dict[str, list[PairScores]] = {}
    for scores in evaluations:
        for each in scores:
            folds.setdefault(each.country, []).append(each.in_part(part))
    for country, mine in folds.items():
        users = [user for fold in mine for user in set(fold.user.tolist())]
        twice = sorted({user for user in users if users.count(user) > 1})
        if twice:
            raise ValueError(
                f"{country}: folds must judge different {part} users, but {len(twice)} are in "
                f"two ({twice[0]} ...). Give each run another `split.fold` of one `split.folds`."
            )
    return [join_folds(mine) for mine in folds.values()]


def join_folds(folds: Sequence[PairScores]) -> PairScores:
    """Return the folds of one country as one, each user judged by the model that never saw it.

    Args:
        folds: The pairs that each fold holds out, with the same models.

    Raises:
        ValueError: Countries or models differ, a pair is in two folds, or there is none.
    """
    kinds = {(fold.country, tuple(sorted(fold.rewards))) for fold in folds}
    if len(kinds) != 1:
        raise ValueError(f"Folds must be of one country and the same models, but got {kinds}.")
    first = folds[0]
    return PairScores(
        first.country,
        np.concatenate([fold.user for fold in folds]),
        np.concatenate([fold.pair_id for fold in folds]),
        np.concatenate([fold.part for fold in folds]),
        np.concatenate([fold.reference_margin for fold in folds]),
        np.concatenate([fold.length_difference for fold in folds]),
        {
            label: np.concatenate([fold.rewards[label] for fold in folds])
            for label in first.rewards
        },
    )
