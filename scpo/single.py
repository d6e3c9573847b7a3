"""One country, one model, by hand: what `scpo score`, `train` and `evaluate` read.

All three read a prepared folder and a global model, and share the reference cache, so the global
model runs once. The split is a function of the data and its seed, so training and evaluation
agree on who is held out without a file between them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from scpo.arms import select_arm
from scpo.batches import TrainingSet
from scpo.config import EncoderConfig, SplitConfig
from scpo.country import CountryData, rows_of
from scpo.data.interactions import read_interactions
from scpo.devices import pick_device
from scpo.evaluation.held_out import evaluate_model
from scpo.model import RewardModel, content_hash, load_reward_model, resolve_model
from scpo.reference import ScoringReport
from scpo.steering import score_table, steer_countries
from scpo.weighting import effective_pairs


def score_data(
    data: Path,
    global_model: str,
    countries: Sequence[str],
    *,
    cache: Path,
    encoder: EncoderConfig,
    score_on: Callable[..., ScoringReport] | None = None,
) -> tuple[ScoringReport, Path]:
    """Fill the reference cache for some countries, or all.

    Args:
        data: Prepared folder.
        global_model: Hub name or folder.
        countries: Names, or none for all.
        cache: Root of the caches.
        encoder: How texts become tokens.
        score_on: `scpo.ray_scoring.score_on_ray`, to score on a cluster; None for this process.

    Returns:
        What scoring did, and the cache's folder for this model.

    Raises:
        FileNotFoundError: No such data or model.
        ValueError: A country is absent.
        RuntimeError: The cluster has fewer devices.
    """
    table = read_interactions(data)
    if countries:
        table = rows_of(table, list(countries))
    folder, reward = _load(global_model)
    score = None
    if score_on is not None:
        score = partial(score_on, folder, use_gpu=reward.model.device.type == "cuda")
    _, report, place = score_table(
        table,
        reward,
        content_hash(folder),
        max_tokens=encoder.max_tokens,
        overlong=encoder.overlong,
        cache=cache,
        score=score,
    )
    return report, place


@dataclass(frozen=True)
class CountryTraining:
    """A training that is ready to start.

    Attributes:
        folder: Folder of the global model.
        reward: The global model, on the device to use.
        pairs: Pairs kept, with their weights.
        num_available: The country's training pairs before the arm's filter.
        effective_pairs: What the weights leave of the kept pairs.
        losses: What of the country was cut or dropped, in words.
    """

    folder: Path
    reward: RewardModel
    pairs: TrainingSet
    num_available: int
    effective_pairs: float
    losses: str


def ready_training(
    data: Path,
    global_model: str,
    country: str,
    *,
    arm: str,
    tau: float,
    beta: float,
    cache: Path,
    encoder: EncoderConfig,
    seed: int,
) -> CountryTraining:
    """Select and weigh one country's training pairs.

    Raises:
        FileNotFoundError: No such data or model.
        ValueError: The country is absent or too small, a setting is out of range, or no pair
            is kept.
    """
    folder, reward = _load(global_model)
    steered = _steer(data, folder, reward, country, cache, encoder)
    which = steered.pairs_in("train")
    selection = select_arm(arm, steered.reference_margin[which], tau=tau, beta=beta, seed=seed)
    if not selection.keep.any():
        raise ValueError(
            f"{country}: tau={tau} keeps none of {len(which)} training pairs. Raise tau."
        )
    pairs = steered.training_set(which[selection.keep], selection.weights[selection.keep])
    return CountryTraining(
        folder, reward, pairs, len(which), effective_pairs(selection.weights), steered.losses
    )


def evaluate_country(
    data: Path,
    global_model: str,
    model: str,
    country: str,
    *,
    part: str,
    cache: Path,
    encoder: EncoderConfig,
) -> dict[str, Any]:
    """Judge a model on one part of a country's users.

    Returns:
        The evaluation, as `scpo.evaluation.held_out.evaluate_model` gives it.

    Raises:
        FileNotFoundError: No such data or model.
        ValueError: The country is absent or too small, or no such part.
    """
    folder, reward = _load(global_model)
    steered = _steer(data, folder, reward, country, cache, encoder)
    _, judged = _load(model)
    return evaluate_model(judged, steered, part)


def evaluation_table(evaluation: dict[str, Any], country: str) -> Table:
    """Return an evaluation as a table for people."""
    table = Table(title=f"{country}, {evaluation['part']} users")
    for name in ("", "accuracy", "95 % interval", "pairs", "users", "ties"):
        table.add_column(name, justify="left" if not name else "right")
    names = {"global_overall": "global model", "length": "longer response"}
    for key in ("overall", "distinctive", "consensus", "global_overall", "length"):
        row = evaluation[key]
        accuracy = "-" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
        interval = "-" if row["low"] is None else f"{row['low']:.1%} to {row['high']:.1%}"
        counts = [str(row[name]) for name in ("pairs", "users", "ties")]
        table.add_row(names.get(key, key), accuracy, interval, *counts)
    return table


def _load(name: str) -> tuple[Path, RewardModel]:
    """Return a model's folder and the model on the device to use."""
    folder = resolve_model(name)
    return folder, load_reward_model(str(folder)).to(pick_device())


def _steer(
    data: Path,
    folder: Path,
    reward: RewardModel,
    country: str,
    cache: Path,
    encoder: EncoderConfig,
) -> CountryData:
    """Return the arrays of one country."""
    steered = steer_countries(
        read_interactions(data),
        [country],
        reward,
        content_hash(folder),
        split=SplitConfig(),
        max_tokens=encoder.max_tokens,
        overlong=encoder.overlong,
        cache=cache,
    )
    return steered.countries[country]
