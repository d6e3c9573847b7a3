"""Every arm on worlds whose truth is known, over many seeds: what the paper's claims are worth.

Input: settings of worlds. Output: one row a world, training strength, arm and measure, with the
mean over seeds and its interval. The answer depends on how hard the arms are trained, so
there are two strengths, as pulls towards the global model: a "hard" trained head follows almost
only the training pairs, a "mild" one stays near the global model's. All arms of a strength differ
in their selection only and are trained to their optimum; tuned arms choose their own strength.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.table import Table

from scpo.arrays import FloatArray
from scpo.files.csv_files import write_csv
from scpo.heads.linear_heads import Heads
from scpo.heads.user_margins import agreement_of_users, gated_strength
from scpo.method.arms import TRAINED_ARMS, select_arm
from scpo.statistics.bootstrap import Interval
from scpo.statistics.wording import format_accuracy
from scpo.text.terminal_table import terminal_table
from sweeps.config import Say
from sweeps.lanes.cells import finish_cells
from sweeps.probe.choose_heads import train_selections
from sweeps.research.worlds.truth_claims import PaperClaim, Trained, judge_paper_claims
from sweeps.research.worlds.world_arms import (
    MEASURES,
    Tuning,
    judge_world,
    tune_scpo,
)
from sweeps.research.worlds.worlds import (
    World,
    WorldSettings,
    columns_of,
    make_world,
    mean_interval,
)

TRAININGS = {"hard": 0.003, "mild": 0.03}
_STEPS = 400  # to the optimum, also of the inverse weights, whose curvature varies a thousandfold
TUNED = "tuned"
ARMS_TRAINED = (  # training strength, arm
    ("", "global"),
    ("", "truth"),
    *product(TRAININGS, TRAINED_ARMS),
    (TUNED, "full"),
    (TUNED, "scpo"),
)
WORLDS = {
    "shift": WorldSettings(shift=0.8, outlier_share=0.15),
    "no shift": WorldSettings(shift=0.0, outlier_share=0.15),
    "outliers": WorldSettings(shift=0.8, outlier_share=0.3),
}
NUM_SEEDS = {"small": 8, "large": 40}


@dataclass(frozen=True)
class TruthCell:
    """All arms on one world: its settings, seed, and how arms are tuned."""

    world: WorldSettings
    seed: int
    tuning: Tuning


@dataclass(frozen=True)
class TruthRow:
    """One arm's figures in the worlds of one kind, means over seeds with 95 % intervals."""

    world: str  # name of the kind, of `WORLDS`
    training: str  # "hard", "mild", or "tuned"; "" where nothing is trained
    arm: str  # "truth" is the country's own utility, which nothing can beat
    measure: str  # of `MEASURES`
    mean: Interval  # fraction 0..1
    pairs_trained: float  # mean number of pairs trained on
    num_seeds: int


class Truth(NamedTuple):
    """Rows of the table and the verdicts on the paper's claims."""

    rows: list[TruthRow]
    claims: list[PaperClaim]


def run_truth(
    out: Path,
    num_seeds: int,
    say: Say,
    *,
    tuning: Tuning | None = None,
    num_processes: int | None = None,
) -> Truth:
    """Train every arm on `num_seeds` worlds of each kind; write `truth.csv` and `claims.csv`.

    Cells that `out`/cells holds are not computed again.

    Raises:
        ValueError: Fewer than 2 seeds, or the folder holds cells of other settings.
    """
    if num_seeds < 2:
        raise ValueError(f"`num_seeds >= 2` must hold for an interval, but got {num_seeds}.")
    cells = {
        f"{name.replace(' ', '-')}-{seed:03d}": TruthCell(settings, seed, tuning or Tuning())
        for name, settings in WORLDS.items()
        for seed in range(num_seeds)
    }
    results = finish_cells(cells, compute_truth, out / "cells", say, num_processes=num_processes)
    figures = {}
    for world, settings in WORLDS.items():
        own = [results[name] for name, cell in cells.items() if cell.world == settings]
        figures[world] = {
            key: np.array([result["/".join(key)] for result in own]) for key in ARMS_TRAINED
        }
    truth = Truth(_rows(figures), judge_paper_claims(figures))
    for name, rows in (("truth.csv", truth.rows), ("claims.csv", truth.claims)):
        write_csv(list(columns_of(rows[0])), [columns_of(row) for row in rows], out / name)
    return truth


def compute_truth(cell: TruthCell) -> dict[str, list[float]]:
    """Return `MEASURES` and pairs trained of each "training/arm" in one world."""
    world = make_world(cell.world, cell.seed)
    unmoved = np.zeros((1, world.train.differences.shape[1]), dtype=np.float32)
    result = {
        "/global": _figures(unmoved, world, 0),
        "/truth": _figures(unmoved + (world.country_head - world.global_head), world, 0),
    }
    margin = world.train.reference_margin
    of_users = {
        "agreement": agreement_of_users(world.train),
        "user_strength": gated_strength(world.train),
    }
    selections = [
        select_arm(arm, margin, seed=cell.seed, **of_users)  # type: ignore[arg-type]
        for arm in TRAINED_ARMS
    ]
    kept = [int(selection.keep.sum()) for selection in selections]
    for training, l2 in TRAININGS.items():
        l2_of_each, steps = np.full(len(selections), l2), np.full(len(selections), _STEPS)
        moved = train_selections(world.train, selections, l2=l2_of_each, steps=steps)
        for number, arm in enumerate(TRAINED_ARMS):
            result[f"{training}/{arm}"] = _figures(moved[number][None], world, kept[number])
    for arm, tuned in tune_scpo(world.train, cell.tuning, cell.seed).items():
        num_kept = round(tuned.retention * len(world.train))
        result[f"{TUNED}/{arm}"] = _figures(tuned.moved, world, num_kept)
    return result


def truth_table(rows: Sequence[TruthRow], world: str) -> Table:
    """Return one kind of world as a table for the terminal, accuracies in percent."""
    of_world = [row for row in rows if row.world == world]
    lines = []
    for (training, arm), group in groupby(of_world, key=lambda row: (row.training, row.arm)):
        measured = list(group)
        accuracies = (format_accuracy(row.mean) for row in measured)
        lines.append((training, arm, *accuracies, f"{measured[0].pairs_trained:.0f}"))
    columns = ("training", "arm", *MEASURES, "pairs trained")
    return terminal_table(f"World: {world}, test users", columns, [lines], left=columns[:2])


def _figures(moved: Heads, world: World, num_kept: int) -> list[float]:
    return [*judge_world(moved, world.test)[0].tolist(), float(num_kept)]


def _rows(figures: Mapping[str, Mapping[Trained, FloatArray]]) -> list[TruthRow]:
    return [
        TruthRow(world, training, arm, measure, mean_interval(values), kept, len(values))
        for world, arms in figures.items()
        for (training, arm), columns in arms.items()
        for kept in [float(columns[:, -1].mean())]
        for measure, values in zip(MEASURES, columns.T, strict=False)
    ]
