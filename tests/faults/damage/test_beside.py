"""Flipped bits of what a run keeps beside its records: caches, checkpoints, cells of a study.

A damaged part is made again, or refused by name: the numbers are those of sound files.
"""

import random
import shutil
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
from tests.faults.table import injected
from tests.faults.test_damage import flip_bit

PROMPTS, RESPONSES = ["a b", "c", "d e f"] * 20, ["g", "h i", "j"] * 20
Check = Callable[[Path], str | None]  # what is wrong after a flip, None for nothing


@dataclass(frozen=True)
class Cell:
    number: int


class Killed(Exception):
    """The process died here."""


def third(cell: Cell) -> dict[str, float]:
    return {"mean": cell.number / 3}


@pytest.fixture(scope="module")
def texts(finished_run: Path) -> TokenizedTexts:
    return encode_texts(tokenizer_of(finished_run), PROMPTS, RESPONSES, max_tokens=32)


def tokenizer_of(run: Path) -> AutoTokenizer:
    return AutoTokenizer.from_pretrained(run / "global")


def rewards(folder: Path, run: Path, texts: TokenizedTexts) -> Check:
    known = {f"{number:032x}": number / 7 for number in range(40)}
    write_rewards(folder, list(known), np.array(list(known.values())))

    def check(place: Path) -> str | None:
        found, num_aside = read_cache(place)
        return None if found == known or (num_aside == 1 and found == {}) else "other rewards"

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
        try:
            found = finish_cells(wanted, third, place, str, num_processes=1)
        except ValueError as error:
            return None if "cell-" in str(error) else f"unnamed: {error}"
        return None if found == sound else "other results"

    return check


def interactions(folder: Path, run: Path, texts: TokenizedTexts) -> Check:
    folder.mkdir()
    sound = read_interactions(run / "data")
    write_interactions(sound, folder / "interactions.parquet")

    def check(place: Path) -> str | None:
        try:
            found = read_interactions(place)
        except ValueError as error:
            return None if "interactions.parquet" in str(error) else f"unnamed: {error}"
        return None if found.to_pylist() == sound.to_pylist() else "other interactions"

    return check


KINDS: dict[str, Callable[[Path, Path, TokenizedTexts], Check]] = {
    "cached reference rewards": rewards,
    "stored tokens": tokens,
    "cached features": features,
    "a training's checkpoint": checkpoint,
    "a study's cells": cells,
    "prepared interactions": interactions,
}


@injected(5, 400)
@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_beside_the_records_changes_nothing(
    kind: str,
    times: int,
    finished_run: Path,
    texts: TokenizedTexts,
    tmp_path: Path,
    tell: Callable[..., None],
) -> None:
    sound, place = tmp_path / "sound", tmp_path / "place"
    check = KINDS[kind](sound, finished_run, texts)
    files = sorted(path for path in sound.rglob("*") if path.is_file())
    draw, bad = random.Random(kind), []
    for number in range(times):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(sound, place)
        file = place / files[number % len(files)].relative_to(sound)
        at, bit = flip_bit(file, draw)
        if fault := check(place):
            bad.append(f"{file.name}, byte {at} bit {bit}: {fault}")
    tell(f"a flipped bit of {kind}", times, bad, says="made again, or refused by name")
