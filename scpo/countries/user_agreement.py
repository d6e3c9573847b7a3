"""How the users of a country agree with the others, from features of the frozen global model.

The features of a country's pairs are computed once and travel with its arrays. The agreement of a
set of labelled pairs is computed where it is first asked for, from these pairs alone, and kept for
all trainings of the process.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from scpo.arrays import FeatureArray, FloatArray, IntArray
from scpo.countries.country_data import CountryData
from scpo.data.interactions import PROMPT_USER
from scpo.heads.linear_heads import ProbedPairs
from scpo.heads.user_margins import MIN_USERS, agreement_of_users, gate_users
from scpo.method.user_weights import default_user_strength
from scpo.text.counts import format_count

FeaturesOf = Callable[[CountryData, IntArray], FeatureArray]  # of named texts, shape (B, D)


def why_no_user_weights(data: CountryData) -> str | None:
    """Return why the users of a country cannot be weighed, None if they can."""
    users = np.unique(data.user[data.pairs_in("train")])
    if data.unit != "user" or all(str(name).startswith(PROMPT_USER) for name in users):
        unit = "prompt" if data.unit == "user" else data.unit
        return f"its pairs name no users, each {unit} stands for one"
    if len(users) < MIN_USERS:
        return f"it has {format_count(len(users), 'training user')}, fewer than {MIN_USERS}"
    return None


def add_differences(data: CountryData, features_of: FeaturesOf) -> CountryData:
    """Return a country with the differences of features of its training and validation pairs.

    Texts of test users are not read.
    """
    which = np.flatnonzero(data.part != "test")
    ends = np.concatenate([data.pairs.chosen[which], data.pairs.rejected[which]])
    needed, number = np.unique(ends, return_inverse=True)
    features = features_of(data, needed)
    chosen, rejected = np.split(number, 2)
    differences = np.full((len(data.part), features.shape[1]), np.nan, dtype=features.dtype)
    differences[which] = features[chosen] - features[rejected]
    return replace(data, differences=differences)


def country_agreement(data: CountryData, which: IntArray) -> FloatArray:
    """Return z_u of the user of each named pair, by these pairs alone, shape (P,).

    Raises:
        ValueError: The country has no features, or fewer than 4 users gave these pairs.
    """
    return _agreement(_Pairs.of(data, which))


def arm_strength(data: CountryData, which: IntArray, strength: float | None = None) -> float:
    """Return the strength of the arm `user` on the named pairs, 0 where its gate is shut.

    Without a `strength` it is 1, or 0.5 with fewer than 30 users.

    Raises:
        ValueError: As of `country_agreement`, fewer than ten users gave these pairs, or
            `0 <= user_strength < inf` does not hold.
    """
    if strength is not None and not 0 <= strength < math.inf:
        raise ValueError(f"`0 <= user_strength < inf` must hold, but got {strength}.")
    num_users = len(np.unique(data.user[which]))
    if num_users < MIN_USERS:
        raise ValueError(
            f"{data.country}: the arm `user` needs {MIN_USERS} users, but these {len(which)} "
            f"pairs are of {num_users}."
        )
    asked = default_user_strength(num_users) if strength is None else strength
    return asked if asked > 0 and _is_open(_Pairs.of(data, which), asked) else 0.0


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs by content, so that equal ones are computed once."""

    pairs: ProbedPairs
    digest: bytes

    @classmethod
    def of(cls, data: CountryData, which: IntArray) -> "_Pairs":
        if data.differences is None:
            raise ValueError(
                f"{data.country}: weights of users need features of the global model, but there "
                "are none. Name the arm `user` or search.user_strength in the configuration."
            )
        margin = data.reference_margin[which]
        pairs = ProbedPairs(data.differences[which], margin, margin, data.user[which])
        digest = hashlib.sha256()
        for column in vars(pairs).values():
            digest.update(np.ascontiguousarray(column).tobytes())
        return cls(pairs, digest.digest())

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pairs) and self.digest == other.digest


@cache
def _agreement(pairs: _Pairs) -> FloatArray:
    return agreement_of_users(pairs.pairs)


@cache
def _is_open(pairs: _Pairs, strength: float) -> bool:
    return gate_users(pairs.pairs, strength).is_open
