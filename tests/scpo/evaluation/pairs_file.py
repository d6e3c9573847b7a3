"""Read `pairs.parquet` back: any figure can be made again from the file alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scpo.arrays import IntArray
from scpo.evaluation.pair_scores import PairScores

TEXTS = ("user", "pair_id", "part")
NUMBERS = ("reference_margin", "length_difference")


def number_responses(pair_ids: NDArray[np.str_]) -> IntArray:
    """Return numbers of y+ and y- from names such as "interaction:2>0", shape (P, 2)."""
    interaction, _, ends = np.strings.rpartition(pair_ids, ":")
    chosen, _, rejected = np.strings.partition(ends, ">")
    names = [np.strings.add(np.strings.add(interaction, ":"), end) for end in (chosen, rejected)]
    _, numbers = np.unique(np.column_stack(names), return_inverse=True)
    return numbers.reshape(-1, 2)


def read_pairs(path: Path) -> list[PairScores]:
    """Return what `write_pairs` wrote, equal to the bit.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A model lacks pairs that another has.
    """
    table = pq.read_table(path)
    scores = []
    for country in pc.unique(table["country"]).to_pylist():
        mine = table.filter(pc.equal(table["country"], country))
        by_label = {
            label: mine.filter(pc.equal(mine["model"], label))
            for label in pc.unique(mine["model"]).to_pylist()
        }
        first = next(iter(by_label.values()))
        for label, rows in by_label.items():
            if not rows["pair_id"].equals(first["pair_id"]):
                raise ValueError(
                    f"{path}: all models of {country} must have the same pairs in one order, "
                    f"but {label!r} has others."
                )
        columns: dict[str, Any] = {
            name: np.asarray(first[name].to_pylist(), dtype=np.str_) for name in TEXTS
        }
        columns |= {name: first[name].to_numpy() for name in NUMBERS}
        columns["responses"] = number_responses(columns["pair_id"])
        rewards = {
            label: np.column_stack([rows["reward_chosen"], rows["reward_rejected"]])
            for label, rows in by_label.items()
        }
        # Files of earlier versions lack the unit.
        unit = first["unit"][0].as_py() if "unit" in first.column_names else "user"
        scores.append(PairScores(country=country, rewards=rewards, unit=unit, **columns))
    return scores
