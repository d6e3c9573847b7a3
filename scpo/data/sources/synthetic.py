"""Synthetic cultures whose truth is known: seed and sizes come in, interactions and truth go out.

A response shows levels of a few attributes (directness, formality, religion, ...). The utility of
a response in a country is linear in the levels' values,

    weights(country) = shared + shift * own(country),   utility = sum_a weights_a * value_a,

and a user scores utility + Gumbel noise, so that of two responses i is preferred with probability
sigmoid(utility_i - utility_j): the Bradley-Terry model. Some users are no such users: outliers
rate by minus the shared utility, noise users at random. Vetted users, where there are any, come on
top: all typical, they alone may validate and test. The same arguments give the same world.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from scipy.special import expit

from scpo.config import SyntheticConfig
from scpo.data.interactions import INTERACTIONS_SCHEMA
from scpo.data.sources.synthetic_phrases import load_attributes, load_questions, render_response

COUNTRY_NAMES = (
    *("Arvandia", "Belmora", "Cestria", "Dorvania", "Elandor", "Fennmark", "Galdova", "Hestria"),
    *("Ilmeria", "Jorvania", "Kestovia", "Lumeria", "Morvath", "Nordelia", "Ostmere", "Pelund"),
)
WEIGHT_SCALE = 0.7  # root mean square of a weight: utilities differ by about 3 within a prompt
SCORE_WIDTH = 2.5  # noisy utility that moves a score from 50 to 73

UserKind = Literal["typical", "outlier", "noise"]


@dataclass(frozen=True)
class SyntheticWorld:
    """Interactions and what made them.

    Attributes:
        interactions: Table of `INTERACTIONS_SCHEMA`, sorted by country, user and interaction.
        truth: JSON-ready: `attributes` (level values by name), `shared_weights`,
            `country_weights`, `user_kinds`, `levels` (by interaction id: for each response the
            level's position by attribute name).
    """

    interactions: pa.Table
    truth: dict[str, Any]


def make_synthetic(config: SyntheticConfig) -> SyntheticWorld:
    """Make a world of synthetic cultures."""
    generator = np.random.default_rng(config.seed)
    shared = _draw_weights(generator)
    country_weights, user_kinds, levels = {}, {}, {}
    rows = []
    for country in COUNTRY_NAMES[: config.num_countries]:
        weights = shared + config.shift * _draw_weights(generator)
        country_weights[country] = weights
        kinds = _draw_kinds(config, generator)
        num_labelling = len(kinds)
        kinds += ["typical"] * config.vetted_users_per_country
        for number, kind in enumerate(kinds):
            user = f"{country.lower()}-{number:03d}"
            user_kinds[user] = kind
            own = {"typical": weights, "outlier": -shared, "noise": 0 * shared}[kind]
            questions = generator.permutation(list(load_questions())).tolist()
            for index, prompt in enumerate(questions[: config.interactions_per_user]):
                key = f"{user}-{index:02d}"
                levels[key] = _draw_levels(config.responses_per_interaction, generator)
                row: dict[str, Any] = {"interaction_id": key, "user_id": user, "country": country}
                if config.vetted_users_per_country:
                    row["vetted"] = number >= num_labelling
                rows.append(row | _judge(prompt, levels[key], own, generator))
    truth = {
        "attributes": {
            name: [level.value for level in choices] for name, choices in load_attributes().items()
        },
        "shared_weights": dict(zip(load_attributes(), shared.tolist(), strict=True)),
        "country_weights": {
            name: dict(zip(load_attributes(), own.tolist(), strict=True))
            for name, own in country_weights.items()
        },
        "user_kinds": user_kinds,
        "levels": levels,
    }
    return SyntheticWorld(pa.Table.from_pylist(rows, schema=INTERACTIONS_SCHEMA), truth)


def _judge(
    prompt: str,
    levels: list[dict[str, int]],
    weights: np.ndarray,
    generator: np.random.Generator,
) -> dict[str, Any]:
    """Return the judged part of a table row: responses of these levels and a user's scores."""
    advice = load_questions()[prompt]
    responses = [
        render_response(advice[generator.integers(len(advice))], response, generator)
        for response in levels
    ]
    utilities = np.array([weights @ _take_values(response) for response in levels])
    noisy = utilities + generator.gumbel(size=len(levels)) - np.euler_gamma
    scores = np.rint(1 + 99 * expit(noisy / SCORE_WIDTH))
    return {"prompt": prompt, "responses": responses, "scores": scores.tolist(), "turn": 0}


def _draw_levels(num_responses: int, generator: np.random.Generator) -> list[dict[str, int]]:
    levels: list[dict[str, int]] = []
    while len(levels) < num_responses:
        drawn = {
            name: int(generator.integers(len(choices)))
            for name, choices in load_attributes().items()
        }
        if drawn not in levels:
            levels.append(drawn)
    return levels


def _draw_weights(generator: np.random.Generator) -> np.ndarray:
    """Return one weight an attribute, (A,), in a random direction of a fixed length."""
    drawn = generator.normal(size=len(load_attributes()))
    return np.asarray(WEIGHT_SCALE * drawn / np.sqrt(np.mean(drawn**2)))


def _draw_kinds(config: SyntheticConfig, generator: np.random.Generator) -> list[UserKind]:
    """Return the kind of each user, in random order, with the shares rounded to whole users."""
    num_users = config.users_per_country
    num_outliers = round(config.outlier_share * num_users)
    num_noise = min(round(config.noise_user_share * num_users), num_users - num_outliers)
    kinds: list[UserKind] = ["outlier"] * num_outliers
    kinds += ["noise"] * num_noise
    kinds += ["typical"] * (num_users - len(kinds))
    return [kinds[index] for index in generator.permutation(num_users)]


def _take_values(levels: Mapping[str, int]) -> np.ndarray:
    return np.array([load_attributes()[name][at].value for name, at in levels.items()])
