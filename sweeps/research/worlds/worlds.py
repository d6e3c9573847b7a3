"""Worlds of known utilities as arrays, for thousands of small trainings: no texts, no models.

A response is a vector of independent features phi ~ N(0, I); its utility is linear in them:

    consensus = s,   country = s + shift * own,   global head = c * s + sqrt(1 - c^2) * error

with s, own and error of one length, error orthogonal to s, so c is the global model's cosine to
the consensus. A user scores K responses by utility + Gumbel noise, the Bradley-Terry model, and
every two responses give a pair. Outliers score by minus the consensus, noise users at random.
Everything follows from settings and seed; worlds of one seed share their directions and users'
randomness, so a difference of settings is paired.
"""

import math
from dataclasses import dataclass

import numpy as np

from scpo.arrays import BoolArray, FloatArray, IntArray, Row
from scpo.heads.linear_heads import ProbedPairs
from scpo.statistics.bootstrap import Interval, jackknife_interval

TEST_USERS = 200  # so that a world's test figures are surer than worlds differ


@dataclass(frozen=True)
class WorldSettings:
    """What a world is made of."""

    num_users: int = 24  # users of the country to train and tune on, >= 2
    shift: float = 0.8  # length of the country's own utility, in lengths of the consensus, >= 0
    outlier_share: float = 0.15  # share of users who choose against the consensus, in 0..1
    noise_user_share: float = 0.1  # share of users who choose at random, in 0..1
    global_cosine: float = 1.0  # cosine of the global head to the consensus, in 0..1
    sharpness: float = 3.0  # standard deviation of a pair's consensus margin, in logits, > 0
    num_features: int = 32  # length of a response's vector, >= 2
    interactions_per_user: int = 2  # >= 1
    responses_per_interaction: int = 4  # K >= 2

    def __post_init__(self) -> None:
        rules = {
            "num_users >= 2": self.num_users >= 2,
            "0 <= shift < inf": 0 <= self.shift < math.inf,
            "outlier_share >= 0": self.outlier_share >= 0,
            "noise_user_share >= 0": self.noise_user_share >= 0,
            "outlier_share + noise_user_share <= 1": (
                self.outlier_share + self.noise_user_share <= 1
            ),
            "0 <= global_cosine <= 1": 0 <= self.global_cosine <= 1,
            "0 < sharpness < inf": 0 < self.sharpness < math.inf,
            "num_features >= 2": self.num_features >= 2,
            "interactions_per_user >= 1": self.interactions_per_user >= 1,
            "responses_per_interaction >= 2": self.responses_per_interaction >= 2,
        }
        for rule, holds in rules.items():
            if not holds:
                raise ValueError(f"`{rule}` must hold, but got {self}.")

    @property
    def num_pairs(self) -> int:
        """Pairs that the users give, all of them labelled."""
        responses = self.responses_per_interaction
        return self.num_users * self.interactions_per_user * (responses * (responses - 1) // 2)


@dataclass(frozen=True)
class WorldPairs(ProbedPairs):
    """P pairs, by reference margin, which is the global head's."""

    utility_margin: FloatArray  # the country's; negative where the user chose against it, (P,)
    is_typical: BoolArray  # whether that user chooses by the country's utility, shape (P,)


@dataclass(frozen=True)
class World:
    """A country, its global model, and its users' pairs."""

    train: WorldPairs  # to train and tune on
    test: WorldPairs  # of `TEST_USERS` other users, drawn from the same kinds
    global_head: FloatArray  # reward weights of the global model, shape (D,)
    country_head: FloatArray  # utility weights of the country, the truth, shape (D,)


def make_world(settings: WorldSettings, seed: int) -> World:
    """Make the world of settings and seed."""
    consensus, own, error = _draw_directions(settings, seed)
    sine = math.sqrt(1.0 - settings.global_cosine**2)
    country = consensus + settings.shift * own
    global_head = settings.global_cosine * consensus + sine * error
    train, test = (
        draw_pairs(
            settings,
            num_users,
            consensus=consensus,
            country=country,
            global_head=global_head,
            generator=np.random.default_rng([seed, stream]),
        )
        for stream, num_users in ((1, settings.num_users), (2, TEST_USERS))
    )
    return World(train, test, global_head, country)


def draw_pairs(
    settings: WorldSettings,
    num_users: int,
    *,
    consensus: FloatArray,
    country: FloatArray,
    global_head: FloatArray,
    generator: np.random.Generator,
) -> WorldPairs:
    """Return the pairs of new users by reference margin; the three heads have shape (D,)."""
    heads = np.stack([country, -consensus, np.zeros_like(country)])  # of the kinds of users
    kind = _draw_kinds(settings, num_users, generator)
    user = np.repeat(np.arange(num_users), settings.interactions_per_user)
    shape = (len(user), settings.responses_per_interaction)
    features = generator.normal(size=(*shape, settings.num_features))
    noise = generator.gumbel(size=shape)
    scores = np.einsum("nkd,nd->nk", features, heads[kind[user]]) + noise
    first, second = np.triu_indices(shape[1], 1)
    sign = np.where(scores[:, first] > scores[:, second], 1.0, -1.0)
    differences = (features[:, first] - features[:, second]) * sign[:, :, None]
    differences = differences.reshape(-1, settings.num_features)
    margin = differences @ global_head
    return WorldPairs(
        differences.astype(np.float32),
        margin,
        margin,
        np.repeat(user, len(first)),
        differences @ country,
        np.repeat(kind[user] == 0, len(first)),
    ).by_margin()


def _draw_directions(
    settings: WorldSettings, seed: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return consensus, own and error, each of shape (D,) and of the consensus's length."""
    length = settings.sharpness / math.sqrt(2.0)
    drawn = np.random.default_rng([seed, 0]).normal(size=(3, settings.num_features))
    consensus, own = (length * (each / np.linalg.norm(each)) for each in drawn[:2])
    error = drawn[2] - consensus * (consensus @ drawn[2]) / (consensus @ consensus)
    return consensus, own, length * (error / np.linalg.norm(error))


def _draw_kinds(
    settings: WorldSettings, num_users: int, generator: np.random.Generator
) -> IntArray:
    """Return 0 for typical users, 1 for outliers and 2 for noise users, in random order.

    The numbers of each kind are the shares rounded up or down, right in the mean over seeds.
    """
    quantile = (np.arange(num_users) + generator.random()) / num_users
    kinds = np.where(quantile < settings.outlier_share, 1, 0)
    kinds[quantile >= 1.0 - settings.noise_user_share] = 2
    return generator.permutation(kinds)


def mean_interval(values: FloatArray) -> Interval:
    """Return the mean of one value a world, shape (W,), with Student's 95 % interval."""
    return jackknife_interval(values, np.ones(len(values)))


def columns_of(row: object) -> Row:
    """Return the fields of a row for CSV, an interval as its value, `low` and `high`."""
    columns: Row = {}
    for name, value in vars(row).items():
        columns |= value.columns(name) if isinstance(value, Interval) else {name: value}
    return columns
