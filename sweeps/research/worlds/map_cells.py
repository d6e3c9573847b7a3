"""One cell of the map: four arms tuned alike on worlds of one kind, and their differences.

    scpo      retention, strength, L2 and steps searched
    full      every pair: L2 and steps searched
    random_k  as many random pairs as scpo chose to keep: L2 and steps searched
    paper     tau and beta of the paper: L2 and steps searched

Each tries as many settings, judged by the same left-out users. A "perfect" choice, by the truth
itself, says what choosing by users costs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from scpo.arrays import FloatArray
from scpo.files.csv_files import write_csv
from sweeps.research.worlds.world_arms import (
    MEASURES,
    TunedArm,
    Tuning,
    draw_plain,
    draw_search,
    judge_world,
    select_each,
    select_random,
    select_same,
    tune_arm,
)
from sweeps.research.worlds.worlds import World, WorldSettings, make_world, mean_ends

USERS, PERFECT = "users", "perfect"
COMPARED = (
    ("scpo", "full"),
    ("scpo", "random_k"),
    ("paper", "full"),
    ("scpo", "global"),
    ("full", "global"),
)
SHOWN = ("truth", "overall")


@dataclass(frozen=True)
class MapCell:
    """Worlds of one kind and how arms are tuned on them.

    Attributes:
        world: Settings of the worlds.
        tuning: How every arm is tuned.
        num_worlds: Worlds.
        first_seed: Seed of the first world; the others follow. Cells of a map differ in it, so
            that neighbours do not share their luck.
    """

    world: WorldSettings
    tuning: Tuning
    num_worlds: int
    first_seed: int = 0

    @property
    def seeds(self) -> range:
        """Seeds of the worlds."""
        return range(self.first_seed, self.first_seed + self.num_worlds)


@dataclass(frozen=True)
class MapRow:
    """One comparison in one cell; accuracies are fractions 0..1, means over worlds.

    Attributes:
        variant: What sets the cell apart from the map's; "" in the map.
        shift: As of `WorldSettings`.
        outlier_share: As of `WorldSettings`.
        pairs: Labelled pairs that an arm is trained and tuned on.
        global_cosine: As of `WorldSettings`.
        model: An arm.
        against: An arm, or "global".
        tuning: Settings chosen by left-out "users", or "perfect".
        measure: "truth", expected accuracy on typical users' choices, or "overall".
        difference: `model` minus `against`.
        low: Lower end of its 95 % interval over worlds; None with one world.
        high: Upper end.
        model_accuracy: Of `model`.
        against_accuracy: Of `against`.
        retention: Mean share of pairs that tuned scpo keeps.
        strength: Mean weighting strength of tuned scpo.
        num_worlds: Worlds.
    """

    variant: str
    shift: float
    outlier_share: float
    pairs: int
    global_cosine: float
    model: str
    against: str
    tuning: str
    measure: str
    difference: float
    low: float | None
    high: float | None
    model_accuracy: float
    against_accuracy: float
    retention: float
    strength: float
    num_worlds: int


def compute_cell(cell: MapCell) -> dict[str, Any]:
    """Return, by arm and way of choosing, `MEASURES` of each world; and what scpo chose."""
    worlds = [_compute_world(cell, seed) for seed in cell.seeds]
    return {name: [world[name] for world in worlds] for name in worlds[0]}


def cell_rows(
    cell: MapCell,
    result: Mapping[str, Any],
    *,
    variant: str = "",
    compared: Sequence[tuple[str, str]] = COMPARED,
) -> list[MapRow]:
    """Return a cell's comparisons.

    Args:
        cell: The cell.
        result: As `compute_cell` returns it.
        variant: Name in another study than the map.
        compared: Pairs of arms, the second subtracted from the first.
    """
    retention, strength = np.mean(result["chosen"], axis=0).tolist()
    rows = []
    for model, against in compared:
        for tuning in (USERS, PERFECT):
            if f"{model}/{tuning}" not in result:
                continue
            ours, theirs = (_figures(result, arm, tuning) for arm in (model, against))
            for measure in SHOWN:
                column = MEASURES.index(measure)
                first, second = ours[:, column], theirs[:, column]
                rows.append(
                    MapRow(
                        variant,
                        cell.world.shift,
                        cell.world.outlier_share,
                        cell.world.num_pairs,
                        cell.world.global_cosine,
                        model,
                        against,
                        tuning,
                        measure,
                        *mean_ends(first - second),
                        float(first.mean()),
                        float(second.mean()),
                        retention,
                        strength,
                        len(first),
                    )
                )
    return rows


def write_rows(rows: Sequence[MapRow], path: Path) -> None:
    """Write rows as CSV; the columns are the fields of `MapRow`."""
    write_csv([field.name for field in fields(MapRow)], [asdict(row) for row in rows], path)


def _figures(result: Mapping[str, Any], arm: str, tuning: str) -> FloatArray:
    """Return an arm's measures of each world, shape (W, 4); the global model is not tuned."""
    return np.array(result[arm if arm == "global" else f"{arm}/{tuning}"])


def _compute_world(cell: MapCell, seed: int) -> dict[str, list[float]]:
    """Return the measures of every arm in one world, and retention and strength of scpo."""
    world = make_world(cell.world, seed)
    tuning, num_settings = cell.tuning, cell.tuning.num_settings
    plain, search = draw_plain(tuning, seed), draw_search(tuning, seed)
    scpo = tune_arm(world.train, select_each(search), search, tuning)
    retention = float(search.retention[scpo.chosen])
    tuned = {
        "scpo": scpo,
        "full": tune_arm(world.train, select_each(plain), plain, tuning),
        "random_k": tune_arm(
            world.train, select_random(retention, num_settings, seed), plain, tuning
        ),
        "paper": tune_arm(world.train, select_same("scpo", num_settings), plain, tuning),
    }
    unmoved = np.zeros((1, world.train.differences.shape[1]), dtype=np.float32)
    result = {
        "global": judge_world(unmoved, world.test)[0].tolist(),
        "chosen": [retention, float(search.strength[scpo.chosen])],
    }
    for name, arm in tuned.items():
        result |= _judge_both(name, arm, world)
    return result


def _judge_both(name: str, arm: TunedArm, world: World) -> dict[str, list[float]]:
    """Return an arm's measures as users chose and as the truth would choose."""
    figures = judge_world(arm.moved, world.test)
    best = int(figures[:, MEASURES.index("truth")].argmax())
    chosen = {f"{name}/{USERS}": arm.chosen, f"{name}/{PERFECT}": best}
    return {key: figures[number].tolist() for key, number in chosen.items()}
