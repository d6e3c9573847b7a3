"""The searched space of a country and the points in it."""

import hashlib
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from scpo.config import LoraConfig
from sweeps.config import SearchConfig, SweepConfig
from sweeps.ledger.records import TrialRecord

USER_STRENGTH = (0.0, 2.0)  # where users can be weighed and nothing is set
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


def search_of(config: SearchConfig, *, can_weigh_users: bool) -> SearchConfig:
    """Return the search of one country: with users' weights where it can have them, unless set."""
    chosen = USER_STRENGTH if config.user_strength is None else config.user_strength
    return config.model_copy(update={"user_strength": chosen if can_weigh_users else (0.0, 0.0)})


def configured_numbers(config: SweepConfig) -> Point:
    """Return the configuration's own values of a point, without what selects and weighs pairs."""
    numbers: Point = {
        "learning_rate": config.training.learning_rate,
        "epochs": config.training.epochs,
    }
    if config.search.lora_rank is not None:
        numbers["lora_rank"] = (config.training.lora or LoraConfig()).rank
    return numbers


def describe_base(config: SweepConfig) -> str:
    """Return what plain fine-tuning has of other numbers than configured; "" for nothing."""
    wanted = configured_numbers(config)
    base = clip_to_space({"retention": 1.0, "strength": 0.0, **wanted}, config.search)
    moved = [
        f"{name} {base[name]:g} instead of {value:g}"
        for name, value in wanted.items()
        if base[name] != value
    ]
    if not moved:
        return ""
    return f"plain fine-tuning is tried with {', '.join(moved)}: the nearest in the search's range"


def point_of(record: TrialRecord, config: SearchConfig) -> Point:
    """Return the point of the search space that a search record tried.

    Users' weights that it had belong to it, also where the configuration leaves them open.
    """
    point: Point = {}
    names = dict.fromkeys(config.parameters)
    if record.config.get("user_strength") is not None:
        names["user_strength"] = None
    for name in names:
        value: Any = record.config.get(name)  # older records have no user_strength
        point[name] = value if isinstance(value, int) else float(value or 0.0)
    return point


def space_hash(config: SearchConfig) -> str:
    """Return a hash of the searched space, 8 hexadecimal digits."""
    space = {name: getattr(config, name) for name in config.parameters}
    return hashlib.sha256(repr(sorted(space.items())).encode()).hexdigest()[:8]
