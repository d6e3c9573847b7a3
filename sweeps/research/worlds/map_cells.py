"""One cell of the map: arms tuned alike on worlds of one kind, and their differences.

    scpo         retention, strength, L2 and steps searched; full where no setting is surely better
    full         every pair: L2 and steps searched
    random_k     as many random pairs as scpo chose to keep: L2 and steps searched
    paper        tau and beta of the paper: L2 and steps searched
    user         every pair, weights of users: L2 and steps searched; full where users are too few
    scpo + user  what scpo chose and weights of users: L2 and steps searched

Each tries as many settings, judged by the same left-out users.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from scpo.heads.linear_heads import Heads
from scpo.heads.user_margins import MIN_USERS, gated_strength
from scpo.method.arms import select_arm
from scpo.statistics.bootstrap import Interval
from sweeps.ledger.words import KEPT_GLOBAL
from sweeps.probe.choose_heads import Select
from sweeps.probe.head_settings import HeadSettings
from sweeps.research.worlds.world_arms import (
    MEASURES,
    TunedArm,
    Tuning,
    draw_plain,
    judge_world,
    select_random,
    tune_arm,
    tune_scpo,
)
from sweeps.research.worlds.worlds import WorldPairs, WorldSettings, make_world, mean_interval

BOTH = "scpo + user"
COMPARED = (
    ("scpo", "full"),
    ("scpo", "random_k"),
    ("paper", "full"),
    ("user", "full"),
    (BOTH, "full"),
    ("scpo", "global"),
    ("full", "global"),
)
_ROW_MEASURES = ("truth", "overall")


@dataclass(frozen=True)
class MapCell:
    """Worlds of one kind and how every arm is tuned on them."""

    world: WorldSettings
    tuning: Tuning
    num_worlds: int
    first_seed: int = 0  # of the first world; cells of a map share no seed

    @property
    def seeds(self) -> range:
        """Seeds of the worlds."""
        return range(self.first_seed, self.first_seed + self.num_worlds)


@dataclass(frozen=True)
class MapRow:
    """One comparison in one cell; accuracies are fractions 0..1, means over worlds."""

    variant: str  # "" in the map, or what sets the cell apart from the map's
    shift: float  # see `WorldSettings`, also for the share and the cosine
    outlier_share: float
    pairs: int  # labelled pairs that an arm is trained and tuned on
    global_cosine: float
    model: str  # an arm
    against: str  # an arm, or "global"
    measure: str  # "truth", expected accuracy on typical users' choices, or "overall"
    difference: Interval  # `model` minus `against`, over worlds
    model_accuracy: float
    against_accuracy: float
    retention: float  # mean share of pairs that tuned scpo keeps
    strength: float  # mean weighting strength of tuned scpo
    num_worlds: int


def compute_map_cell(cell: MapCell) -> dict[str, Any]:
    """Return, by arm, `MEASURES` of each world; and what scpo chose."""
    worlds = [_compute_world(cell, seed) for seed in cell.seeds]
    return {name: [world[name] for world in worlds] for name in worlds[0]}


def cell_rows(cell: MapCell, result: Mapping[str, Any], *, variant: str = "") -> list[MapRow]:
    """Return a cell's comparisons from its result, as `compute_map_cell` returns it."""
    world = cell.world
    kind = (variant, world.shift, world.outlier_share, world.num_pairs, world.global_cosine)
    retention, strength = np.mean(result["chosen"], axis=0).tolist()
    rows = []
    for model, against in COMPARED:
        for measure in _ROW_MEASURES:
            column = MEASURES.index(measure)
            first, second = (np.array(result[arm])[:, column] for arm in (model, against))
            difference = mean_interval(first - second)
            means = (float(first.mean()), float(second.mean()), retention, strength)
            rows.append(MapRow(*kind, model, against, measure, difference, *means, len(first)))
    return rows


def _compute_world(cell: MapCell, seed: int) -> dict[str, list[float]]:
    """Return the measures of every arm in one world, and retention and strength of scpo."""
    world = make_world(cell.world, seed)
    tuning, num_settings = cell.tuning, cell.tuning.num_settings
    arms = tune_scpo(world.train, tuning, seed)
    retention, strength = arms["scpo"].retention, arms["scpo"].strength
    unmoved = np.zeros((1, world.train.differences.shape[1]), dtype=np.float32)
    heads = {"global": unmoved, "random_k": unmoved, **{k: v.moved for k, v in arms.items()}}
    plain = draw_plain(tuning, seed)
    selectors: dict[str, Select] = {
        "paper": lambda pairs: [select_arm("scpo", pairs.reference_margin)] * num_settings
    }
    if retention > KEPT_GLOBAL:
        selectors["random_k"] = select_random(retention, num_settings, seed)
    for name, select in selectors.items():
        heads[name] = tune_arm(world.train, select, plain, tuning)[1]
    heads |= _tune_users(world.train, arms, plain, tuning)
    judged = {name: judge_world(moved, world.test)[0].tolist() for name, moved in heads.items()}
    return {"chosen": [retention, strength], **judged}


def _tune_users(
    pairs: WorldPairs, arms: Mapping[str, TunedArm], plain: HeadSettings, tuning: Tuning
) -> dict[str, Heads]:
    """Return the heads with weights of users, from `full` and from what scpo chose.

    Where the gate of the weights is shut, or users are too few, they are those arms themselves.
    """
    is_known = len(np.unique(pairs.user)) >= MIN_USERS
    user_strength = gated_strength(pairs) if is_known else 0.0

    @cache  # scpo is full almost everywhere
    def weigh(retention: float, strength: float) -> Heads:
        settings = replace(
            plain,
            retention=np.full(len(plain), retention),
            strength=np.full(len(plain), strength),
            user_strength=np.full(len(plain), user_strength),
        )
        return tune_arm(pairs, settings.select, settings, tuning)[1]

    return {
        name: weigh(arm.retention, arm.strength)
        if user_strength and arm.retention > KEPT_GLOBAL
        else arm.moved
        for name, arm in (("user", arms["full"]), (BOTH, arms["scpo"]))
    }
