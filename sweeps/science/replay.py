"""Beyond the paper: scpo that also trains on a share of what its filter dropped.

The filter drops the pairs on which the global model is surest, so nothing holds the head there.
Replay puts a random share of them back with weight 1. The share is searched with the rest,
judged by left-out users; at 0 the arm is scpo, at 1 it weighs pairs and drops none. Arms that
were tried beside it and did not help, by the same cells, are told in the project's study.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scpo.arms import Selection, select_setting
from scpo.weighting import FloatArray
from sweeps.probe_heads import HeadSettings
from sweeps.science.cells import Say, finish_cells
from sweeps.science.map_cells import USERS, MapCell, MapRow, cell_rows, write_rows
from sweeps.science.when_it_pays import MapAxes, map_cells
from sweeps.science.world_arms import (
    Select,
    Tuning,
    draw_plain,
    draw_search,
    judge_world,
    select_each,
    tune_arm,
)
from sweeps.science.worlds import make_world

SHARES = (0.0, 0.25, 0.5, 1.0)  # of what was dropped, a quarter of the settings each
SHARE_SEED = 7  # part of the seed of the shares' order
COMPARED = (("replay", "scpo"), ("replay", "full"), ("scpo", "full"))
REPLAY_SIZES = {
    "small": MapAxes((1.0,), (0.0, 0.3), (8,), (1.0,), 4, Tuning(num_settings=16)),
    "large": MapAxes((0.0, 0.5, 1.0), (0.0, 0.2, 0.4), (8, 24, 72), (0.7, 1.0), 32, Tuning()),
}


def run_replay(
    out: Path, axes: MapAxes, say: Say, *, num_processes: int | None = None
) -> list[MapRow]:
    """Compute the study, or what `out`/cells lacks of it, and write `replay.csv`.

    Raises:
        ValueError: The folder holds cells of other settings.
    """
    cells = map_cells(axes)
    results = finish_cells(cells, compute_replay, out / "cells", say, num_processes=num_processes)
    rows = [
        row
        for name, cell in cells.items()
        for row in cell_rows(cell, results[name], compared=COMPARED)
    ]
    write_rows(rows, out / "replay.csv")
    return rows


def compute_replay(cell: MapCell) -> dict[str, Any]:
    """Return, by arm, the measures of each world; and what replay chose."""
    worlds = [_compute_world(cell, seed) for seed in cell.seeds]
    return {name: [world[name] for world in worlds] for name in worlds[0]}


def select_replayed(settings: HeadSettings, share: Sequence[float], seed: int) -> Select:
    """Return the selections of each setting with a share of the dropped pairs put back.

    Args:
        settings: The S settings.
        share: Of the dropped pairs, in 0..1, shape (S,).
        seed: Seed of the choice.
    """

    def select(margin: FloatArray) -> list[Selection]:
        return [
            _put_back(select_setting(margin, retention=retention, strength=strength), part, seed)
            for retention, strength, part in zip(
                settings.retention.tolist(), settings.strength.tolist(), share, strict=True
            )
        ]

    return select


def _put_back(selection: Selection, share: float, seed: int) -> Selection:
    """Return a selection with a random share of what it dropped at weight 1."""
    dropped = np.random.default_rng(seed).permutation(np.flatnonzero(~selection.keep))
    keep, weights = selection.keep.copy(), selection.weights.copy()
    back = dropped[: round(share * len(dropped))]
    keep[back], weights[back] = True, 1.0
    return Selection(keep, weights, None, selection.beta)


def _compute_world(cell: MapCell, seed: int) -> dict[str, list[float]]:
    """Return the measures of every arm in one world, and what replay chose."""
    world, tuning = make_world(cell.world, seed), cell.tuning
    plain, search = draw_plain(tuning, seed), draw_search(tuning, seed)
    shares = np.resize(SHARES, tuning.num_settings)
    shares = np.random.default_rng([seed, SHARE_SEED]).permutation(shares)
    arms = {
        "full": (plain, select_each(plain)),
        "scpo": (search, select_each(search)),
        "replay": (search, select_replayed(search, shares.tolist(), seed)),
    }
    result = {}
    for arm, (settings, select) in arms.items():
        tuned = tune_arm(world.train, select, settings, tuning)
        figures = judge_world(tuned.moved[tuned.chosen][None], world.test)
        result[f"{arm}/{USERS}"] = figures[0].tolist()
    place = tuned.chosen
    result["chosen"] = [float(search.retention[place]), float(search.strength[place])]
    return result
