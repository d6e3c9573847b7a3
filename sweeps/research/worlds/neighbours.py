"""Beyond the paper: a country trained together with its neighbours, one deviation each.

The head of country c is w0 + shared + own_c: what all countries add to the global head, and
what c adds alone. With a share rho of sharing in [0, 1) setting s minimises

    1/N sum_i W_i softplus(-m_i) + lambda / 2C (|shared|^2 / rho + sum_c |own_c|^2 / (1 - rho))

over the N pairs i that it keeps of all C countries. That is the probe's objective on the features
[sqrt(rho) x, 0, .., sqrt(1 - rho) x, .., 0], so the same array program trains it; rho = 0 is each
country alone. rho is searched with the rest, judged by the country's own left-out users.

Neighbours are worlds of the same consensus and global head whose own direction has a cosine,
the kinship, to the country's. Their users choose and err as the country's do.

Reference:
    Evgeniou and Pontil (2004), regularized multi-task learning.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scpo.arrays import BoolArray, FloatArray
from sweeps.config import Say
from sweeps.ledger.cells import finish_cells
from sweeps.probe.heads import Heads, HeadSettings, train_heads
from sweeps.research.worlds.map import MapAxes, map_cells
from sweeps.research.worlds.map_cells import USERS, MapCell, MapRow, cell_rows, write_rows
from sweeps.research.worlds.world_arms import (
    Fit,
    Tuning,
    draw_plain,
    draw_search,
    judge_world,
    may_start,
    select_each,
    train_selections,
    tune_arm,
    tune_fit,
)
from sweeps.research.worlds.worlds import (
    WorldPairs,
    draw_direction,
    draw_directions,
    draw_pairs,
    make_world,
)

SHARES = (0.0, 0.5, 0.8, 0.95)  # rho, a quarter of the settings each
NEIGHBOUR_SEED = 3  # part of the seed; 0, 1 and 2 are the world's
COMPARED = (
    ("full together", "full"),
    ("scpo together", "scpo"),
    ("scpo together", "full"),
    ("scpo together", "full together"),
)


@dataclass(frozen=True)
class NeighbourCell:
    """Worlds of one kind with neighbours.

    Attributes:
        cell: The country's worlds, and how arms are tuned.
        kinship: Cosine of a neighbour's own direction to the country's, in 0..1.
        num_neighbours: Neighbours, each with as many users as the country.
    """

    cell: MapCell
    kinship: float
    num_neighbours: int = 4


@dataclass(frozen=True)
class NeighbourAxes:
    """What the study spans: the map's axes with the global cosine at 1, and the kinship."""

    axes: MapAxes
    kinships: tuple[float, ...]


NEIGHBOUR_SIZES = {
    "small": NeighbourAxes(
        MapAxes((1.0,), (0.0, 0.3), (8,), (1.0,), 4, Tuning(num_settings=16)), (0.0, 0.9)
    ),
    "large": NeighbourAxes(
        MapAxes((0.5, 1.0), (0.0, 0.3), (8, 24, 72), (1.0,), 16, Tuning()), (0.0, 0.5, 0.9)
    ),
}


def neighbour_cells(axes: NeighbourAxes) -> dict[str, NeighbourCell]:
    """Return the cells of the study by name; worlds are the same for every kinship."""
    return {
        f"kinship{kinship:g}-{name}": NeighbourCell(cell, kinship)
        for kinship in axes.kinships
        for name, cell in map_cells(axes.axes).items()
    }


def run_neighbours(
    out: Path, axes: NeighbourAxes, say: Say, *, num_processes: int | None = None
) -> list[MapRow]:
    """Compute the study, or what `out`/cells lacks of it, and write `neighbours.csv`.

    Raises:
        ValueError: The folder holds cells of other settings.
    """
    cells = neighbour_cells(axes)
    results = finish_cells(
        cells, compute_neighbours, out / "cells", say, num_processes=num_processes
    )
    rows = [
        row
        for name, cell in cells.items()
        for row in cell_rows(
            cell.cell, results[name], variant=f"kinship {cell.kinship:g}", compared=COMPARED
        )
    ]
    write_rows(rows, out / "neighbours.csv")
    return rows


def compute_neighbours(cell: NeighbourCell) -> dict[str, Any]:
    """Return, by arm, the measures of each world; and what scpo together chose."""
    worlds = [_compute_world(cell, seed) for seed in cell.cell.seeds]
    return {name: [world[name] for world in worlds] for name in worlds[0]}


def make_neighbours(cell: NeighbourCell, seed: int) -> list[WorldPairs]:
    """Return the training pairs of the neighbours of the world of a seed."""
    settings = cell.cell.world
    consensus, own, _ = draw_directions(settings, seed)
    global_head = make_world(settings, seed).global_head
    sine = math.sqrt(1.0 - cell.kinship**2)
    neighbours = []
    for number in range(cell.num_neighbours):
        generator = np.random.default_rng([seed, NEIGHBOUR_SEED, number])
        other = draw_direction(settings.num_features, generator, across=own)
        theirs = cell.kinship * own + sine * np.linalg.norm(own) * other
        neighbours.append(
            draw_pairs(
                settings,
                settings.num_users,
                consensus=consensus,
                country=consensus + settings.shift * theirs,
                global_head=global_head,
                generator=generator,
            )
        )
    return neighbours


def fit_together(neighbours: Sequence[WorldPairs], settings: HeadSettings, rho: FloatArray) -> Fit:
    """Return the fit that trains a country's pairs together with its neighbours'.

    Args:
        neighbours: Pairs of each neighbour, all of them trained on.
        settings: The S settings.
        rho: Share of sharing of each, in [0, 1), shape (S,).
    """
    select = select_each(settings)

    def fit(pairs: WorldPairs) -> tuple[Heads, BoolArray]:
        countries = [pairs, *neighbours]
        selections = [select(country.reference_margin) for country in countries]
        weights = np.hstack([np.stack([one.weights for one in each]) for each in selections])
        kept = np.sum([[one.keep.sum() for one in each] for each in selections], axis=0)
        margin = np.concatenate([country.reference_margin for country in countries])
        order = np.argsort(margin, kind="stable")
        moved = np.zeros((len(settings), pairs.differences.shape[1]), dtype=np.float32)
        for share in np.unique(rho).tolist():
            at = np.flatnonzero(rho == share)
            l2, steps = settings.l2[at], settings.steps[at]
            if share == 0:
                alone = [selections[0][number] for number in at.tolist()]
                moved[at] = train_selections(pairs, alone, l2=l2, steps=steps)
                continue
            stacked = stack_features(countries, share)[order]
            heads = train_heads(
                stacked,
                margin[order],
                weights[at][:, order],
                kept[at],
                l2=l2 / len(countries),
                steps=steps,
            )
            width = moved.shape[1]
            shared, own = heads[:, :width], heads[:, width : 2 * width]
            moved[at] = math.sqrt(share) * shared + math.sqrt(1.0 - share) * own
        return moved, may_start(selections[0])

    return fit


def stack_features(countries: Sequence[WorldPairs], share: float) -> Heads:
    """Return every country's differences in a shared block and one of its own.

    Args:
        countries: C countries' pairs.
        share: rho, in [0, 1).

    Returns:
        Shape (P of all, (1 + C) D), float32.
    """
    width = countries[0].differences.shape[1]
    stacked = np.zeros((sum(map(len, countries)), (1 + len(countries)) * width), dtype=np.float32)
    start = 0
    for number, country in enumerate(countries, 1):
        rows = slice(start, start + len(country))
        stacked[rows, :width] = math.sqrt(share) * country.differences
        own = slice(number * width, (number + 1) * width)
        stacked[rows, own] = math.sqrt(1.0 - share) * country.differences
        start += len(country)
    return stacked


def _compute_world(cell: NeighbourCell, seed: int) -> dict[str, list[float]]:
    """Return the measures of every arm in one world, and retention and strength of scpo."""
    world, neighbours = make_world(cell.cell.world, seed), make_neighbours(cell, seed)
    tuning = cell.cell.tuning
    rho = np.resize(SHARES, tuning.num_settings)
    rho = np.random.default_rng([seed, NEIGHBOUR_SEED]).permutation(rho)
    result = {}
    for arm, settings in (("full", draw_plain(tuning, seed)), ("scpo", draw_search(tuning, seed))):
        alone = tune_arm(world.train, select_each(settings), settings, tuning)
        together = tune_fit(world.train, fit_together(neighbours, settings, rho), settings, tuning)
        for name, tuned in ((arm, alone), (f"{arm} together", together)):
            figures = judge_world(tuned.moved[tuned.chosen][None], world.test)
            result[f"{name}/{USERS}"] = figures[0].tolist()
            place = tuned.chosen
            result["chosen"] = [float(settings.retention[place]), float(settings.strength[place])]
    return result
