"""Rewards of several models on the same pairs: what every figure of an evaluation is made from.

Models go by labels. "global" is the reference model and "length" the rule that the longer
response wins; "Mexico/scpo" is Mexico's model of arm scpo, "Mexico" alone its only one; any
other name ("full") is one model for all countries. `pairs.parquet` holds every reward at full
precision, one row a pair and model, so that any figure can be made again from the file alone.

Legend: P pairs, M models.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scpo.arrays import BoolArray, FloatArray, IntArray
from scpo.files.atomic import atomic_path

GLOBAL = "global"
LENGTH = "length"
OWN = "own"  # arm of a country's only model
_COLUMNS = ("user", "pair_id", "part", "reference_margin", "length_difference", "responses")


@dataclass(frozen=True)
class PairScores:
    """Rewards of M models on a country's P pairs."""

    country: str
    user: NDArray[np.str_]  # of each pair, shape (P,)
    pair_id: NDArray[np.str_]  # "interaction:2>0" where response 2 was chosen over 0, shape (P,)
    part: NDArray[np.str_]  # "train", "validation" or "test", shape (P,)
    reference_margin: FloatArray  # d = r_glo(y+) - r_glo(y-), divides the layers at 0, (P,)
    length_difference: FloatArray  # characters of y+ minus those of y-, shape (P,)
    responses: IntArray  # numbers of y+ and of y- among the country's responses, shape (P, 2)
    rewards: Mapping[str, FloatArray]  # by label, the rewards of y+ and of y-, shape (P, 2)
    unit: str = "user"  # as of `scpo.countries.country_data.CountryData`

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together.

        Raises:
            ValueError: Lengths differ, a number is not finite, or a pair comes twice.
        """
        num_pairs = len(self.pair_id)
        sizes = {len(getattr(self, name)) for name in _COLUMNS}
        shapes = {rewards.shape for rewards in self.rewards.values()}
        if sizes != {num_pairs} or not shapes <= {(num_pairs, 2)}:
            raise ValueError(
                f"{self.country}: columns of {num_pairs} pairs and rewards of shape "
                f"({num_pairs}, 2) must hold, but got lengths {sorted(sizes)} and {shapes}."
            )
        for values in (self.reference_margin, self.length_difference, *self.rewards.values()):
            if not np.all(np.isfinite(values)):
                raise ValueError(f"{self.country}: rewards and margins must be finite.")
        if len(np.unique(self.pair_id)) < num_pairs:
            raise ValueError(
                f"{self.country}: each pair must come once, but one comes twice. Give the "
                "pairs of different folds or parts only."
            )

    def __len__(self) -> int:
        return len(self.pair_id)

    def margin(self, label: str) -> FloatArray:
        """Return a model's m = r(y+) - r(y-), shape (P,).

        Raises:
            ValueError: No such model.
        """
        if label not in self.rewards:
            raise ValueError(
                f"{self.country}: the model must be one of {', '.join(self.rewards)}, but got "
                f"{label!r}."
            )
        rewards = self.rewards[label]
        return np.asarray(rewards[:, 0] - rewards[:, 1])

    def take(self, which: BoolArray) -> "PairScores":
        """Return the pairs of a mask."""
        columns = {name: getattr(self, name)[which] for name in _COLUMNS}
        rewards = {label: rewards[which] for label, rewards in self.rewards.items()}
        return replace(self, rewards=rewards, **columns)

    def in_part(self, part: str) -> "PairScores":
        """Return the pairs of one part.

        Raises:
            ValueError: It has none.
        """
        which = self.part == part
        if not which.any():
            raise ValueError(
                f"{self.country}: there must be pairs of {part} users, but there are only those "
                f"of {', '.join(sorted(set(self.part.tolist())))}."
            )
        return self.take(which)


def own_labels(labels: Iterable[str], country: str, countries: Sequence[str]) -> dict[str, str]:
    """Return the models to judge a country by, label by arm: those for all, and its own.

    Raises:
        ValueError: Two models of one arm.
    """
    found: dict[str, str] = {}
    for label in labels:
        owner, arm = split_label(label, countries)
        if owner not in (None, country):
            continue
        if arm in found:
            raise ValueError(
                f"{country} must have one model an arm, but {found[arm]!r} and {label!r} are "
                f"both {arm!r}."
            )
        found[arm] = label
    return found


def split_label(label: str, countries: Sequence[str]) -> tuple[str | None, str]:
    """Return (country, arm) of a label; None for the country of a model for all."""
    head, slash, arm = label.partition("/")
    if slash:
        return head, arm
    return (head, OWN) if head in countries else (None, head)


def write_pairs(scores: Sequence[PairScores], path: Path) -> None:
    """Write one row a pair and model as Parquet, whole or not at all; rewards are float64."""
    tables = [_table_of(each, label) for each in scores for label in each.rewards]
    with atomic_path(path) as temporary:
        pq.write_table(pa.concat_tables(tables), temporary)


def _table_of(scores: PairScores, label: str) -> pa.Table:
    size = len(scores)
    columns = {
        "country": np.full(size, scores.country),
        "user": scores.user,
        "pair_id": scores.pair_id,
        "part": scores.part,
        "model": np.full(size, label),
        "reward_chosen": scores.rewards[label][:, 0],
        "reward_rejected": scores.rewards[label][:, 1],
        "reference_margin": scores.reference_margin,
        "length_difference": scores.length_difference,
        "unit": np.full(size, scores.unit),
    }
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def pool_evaluations(evaluations: Sequence[Sequence[PairScores]], part: str) -> list[PairScores]:
    """Return each country's pairs of one part over all folds that judge it; one fold as it is.

    Pairs of other parts are left out: what validates in one fold tests in the next.

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

    Raises:
        ValueError: Countries or models differ, a pair is in two folds, or there is none.
    """
    kinds = {(fold.country, tuple(sorted(fold.rewards))) for fold in folds}
    if len(kinds) != 1:
        raise ValueError(f"Folds must be of one country and the same models, but got {kinds}.")
    first = folds[0]
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(fold, name) for fold in folds]) for name in _COLUMNS
    }
    num_before = np.cumsum([0, *(fold.responses.max(initial=-1) + 1 for fold in folds)])
    columns["responses"] += np.repeat(num_before[:-1], list(map(len, folds)))[:, None]
    rewards = {
        label: np.concatenate([fold.rewards[label] for fold in folds]) for label in first.rewards
    }
    return replace(first, rewards=rewards, **columns)
