"""What a run keeps beside its records: caches, checkpoints, cells of a study, prepared data.

Each maker writes one kind of it into a folder, and returns what says how the folder is read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from scpo.config import TrainingConfig
from scpo.countries.features import features_with_cache
from scpo.countries.reference_cache import read_cache, write_rewards
from scpo.data.interactions import read_interactions, write_interactions
from scpo.models.loading import load_reward_model
from scpo.tokens.batches import TrainingSet
from scpo.tokens.encoding import TokenizedTexts, encode_texts
from scpo.tokens.token_store import load_or_encode
from scpo.training.checkpoints import find_damage
from scpo.training.fit import fit_on_device
from sweeps.lanes.cells import finish_cells

PROMPTS, RESPONSES = ["a b", "c", "d e f"] * 20, ["g", "h i", "j"] * 20
Check = Callable[[Path], str | None]  # what is wrong with what is read, None for nothing
Make = Callable[[Path, Path, TokenizedTexts], Check]


@dataclass(frozen=True)
class Cell:
    number: int


class Killed(Exception):
    """The process died here."""


def third(cell: Cell) -> dict[str, float]:
    return {"mean": cell.number / 3}


def encode(run: Path) -> TokenizedTexts:
    """Return the texts as a run's global model reads them."""
    return encode_texts(tokenizer_of(run), PROMPTS, RESPONSES, max_tokens=32)


def tokenizer_of(run: Path) -> AutoTokenizer:
    return AutoTokenizer.from_pretrained(run / "global")


def rewards(folder: Path, run: Path, texts: TokenizedTexts) -> Check:
    known = {f"{number:032x}": number / 7 for number in range(40)}
    write_rewards(folder, list(known), np.array(list(known.values())))

    def check(place: Path) -> str | None:
        found, _ = read_cache(place)
        return None if found.items() <= known.items() else "other rewards"

    return check


def tokens(folder: Path, run: Path, texts: TokenizedTexts) -> Check:
    tokenizer = tokenizer_of(run)

    def read(place: Path) -> TokenizedTexts:
        return load_or_encode(place, tokenizer, PROMPTS, RESPONSES, max_tokens=32)

    read(folder)

    def check(place: Path) -> str | None:
        found = read(place)
        same = all(
            np.array_equal(one, other)
            for one, other in zip(
                (found.ids, found.types, found.offsets, found.overlong),
                (texts.ids, texts.types, texts.offsets, texts.overlong),
                strict=True,
            )
        )
        return None if same else "other tokens"

    return check


def features(folder: Path, run: Path, texts: TokenizedTexts) -> Check:
    which = np.arange(3)

    def read(place: Path) -> np.ndarray:
        return features_with_cache(
            None,  # type: ignore[arg-type]  # `compute` stands for it
            texts,
            which,
            place,
            pooling="mean",
            compute=lambda _, asked, **__: np.outer(asked + 1, [0.5, 0.25]).astype(np.float32),
        ).features

    sound = read(folder)
    return lambda place: None if np.array_equal(read(place), sound) else "other features"


def checkpoint(folder: Path, run: Path, texts: TokenizedTexts) -> Check:
    pairs = TrainingSet(texts, np.arange(0, 20), np.arange(20, 40), np.arange(20), np.ones(20))
    config = TrainingConfig(
        pairs_per_step=5, learning_rate=1e-3, precision="fp32", checkpoint_every=1
    )

    def report(progress: object) -> None:
        if progress.step == 2:  # type: ignore[attr-defined]
            raise Killed

    with pytest.raises(Killed):
        fit_on_device(
            load_reward_model(run / "global"), pairs, config, checkpoints=folder, report=report
        )

    def check(place: Path) -> str | None:
        return None if any(map(find_damage, place.glob("step-*"))) else "not noticed"

    return check


def cells(folder: Path, run: Path, texts: TokenizedTexts) -> Check:
    wanted = {f"cell-{number}": Cell(number) for number in range(5)}
    sound = finish_cells(wanted, third, folder, str, num_processes=1)

    def check(place: Path) -> str | None:
        found = finish_cells(wanted, third, place, str, num_processes=1)
        return None if found == sound else "other results"

    return check


def interactions(folder: Path, run: Path, texts: TokenizedTexts) -> Check:
    folder.mkdir()
    sound = read_interactions(run / "data")
    write_interactions(sound, folder / "interactions.parquet")

    def check(place: Path) -> str | None:
        found = read_interactions(place)
        return None if found.to_pylist() == sound.to_pylist() else "other interactions"

    return check


KINDS: dict[str, Make] = {
    "cached reference rewards": rewards,
    "stored tokens": tokens,
    "cached features": features,
    "a training's checkpoint": checkpoint,
    "a study's cells": cells,
    "prepared interactions": interactions,
}
