"""The searched space of a country and the points in it."""

import hashlib
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from scpo.config import LoraConfig
from sweeps.config import SearchConfig, SweepConfig
from sweeps.ledger.records import TrialRecord

_LOG_SCALED = ("learning_rate", "epochs", "lora_rank")
Point = dict[str, float]


def search_space(config: SearchConfig) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions of the searched parameters."""
    space: dict[str, BaseDistribution] = {}
    for name in config.parameters:
        low, high = getattr(config, name)
        kind = IntDistribution if isinstance(low, int) else FloatDistribution
        space[name] = kind(low, high, log=name in _LOG_SCALED)
    return space


def clip_to_space(point: Mapping[str, float], config: SearchConfig) -> Point:
    """Return a point moved to the nearest one inside the space."""
    bounds = {name: getattr(config, name) for name in config.parameters}
    return {name: min(max(point[name], low), high) for name, (low, high) in bounds.items()}


def configured_numbers(config: SweepConfig) -> Point:
    """Return the configuration's own values of a point, without retention and strength."""
    numbers: Point = {
        "learning_rate": config.training.learning_rate,
        "epochs": config.training.epochs,
    }
    if config.search.lora_rank is not None:
        numbers["lora_rank"] = (config.training.lora or LoraConfig()).rank
    return numbers


def point_of(record: TrialRecord, config: SearchConfig) -> Point:
    """Return the point of the search space that a search record tried."""
    point: Point = {}
    for name in config.parameters:
        value: Any = record.config[name]
        point[name] = value if isinstance(value, int) else float(value or 0.0)
    return point


def space_hash(config: SearchConfig) -> str:
    """Return a hash of the searched space, 8 hexadecimal digits."""
    space = {name: getattr(config, name) for name in config.parameters}
    return hashlib.sha256(repr(sorted(space.items())).encode()).hexdigest()[:8]
