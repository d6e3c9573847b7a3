"""The probe: frozen backbone, thousands of heads per country, the front as first trials.

The features of all training and validation texts are computed once and cached; then heads for
many (retention, strength, L2, steps) train as one array program a country (`probe_heads`). What
carries over to full fine-tuning is the selection: a point takes retention and strength from the
front, and learning rate and epochs from the configuration, for a head does not show those.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scpo.arrays import BoolArray, FloatArray, IntArray
from scpo.countries.country_data import CountryData
from scpo.method.strength import margin_scale, retention_mask
from scpo.method.weighting import effective_pairs, pair_weights
from scpo.models.model_source import ModelSource
from sweeps.config import Say, SearchConfig, SweepConfig
from sweeps.probe.heads import HeadSettings, JudgedHeads, draw_settings, judge_heads, train_heads
from sweeps.probe.probed_pairs import ProbedPairs, open_features, probe_pairs
from sweeps.ranking.pareto import pareto_front
from sweeps.run.inputs import prepare_all
from sweeps.search.space import Point, clip_to_space, configured_numbers

NUM_SETTINGS = 1024
L2 = (1e-4, 10.0)
STEPS = (2, 24)
NUM_POINTS = 4


@dataclass(frozen=True)
class ProbeResult:
    """What the heads of one country showed; arrays have one value for each of S settings.

    Attributes:
        country: Its name.
        settings: The settings that were trained, S of them.
        pairs_trained: Pairs kept.
        effective_pairs: What the weights leave of them.
        judged: Figures on validation pairs.
        feasible: Whether consensus accuracy fell no further than allowed.
        on_front: Whether it is feasible and nothing feasible dominates it in accuracy and pairs,
            the global model with its 0 pairs included.
        global_accuracy: Of the global model on the same validation pairs.
        reference_margin: Of the training pairs, ascending, shape (P,).
        num_validation: Validation pairs.
        num_users: Users that gave them.
        num_skipped: Settings that kept too little to start.
    """

    country: str
    settings: HeadSettings
    pairs_trained: IntArray
    effective_pairs: FloatArray
    judged: JudgedHeads
    feasible: BoolArray
    on_front: BoolArray
    global_accuracy: float
    reference_margin: FloatArray
    num_validation: int
    num_users: int
    num_skipped: int


def run_probe(
    config: SweepConfig, run: Path, say: Say, *, num_settings: int = NUM_SETTINGS
) -> list[ProbeResult]:
    """Probe every country of a configuration.

    Args:
        config: The sweep that the probe prepares.
        run: Its folder; data and global model are taken from there or put there.
        say: Called with a line of progress.
        num_settings: Settings of each country.

    Raises:
        ValueError: As of `probe_countries`, or the data do not suffice.
    """
    model, steered = prepare_all(config, run, say)
    return probe_countries(config, steered.countries, model, say, num_settings=num_settings)


def probe_countries(
    config: SweepConfig,
    countries: Mapping[str, CountryData],
    model: ModelSource,
    say: Say,
    *,
    num_settings: int = NUM_SETTINGS,
) -> list[ProbeResult]:
    """Probe countries whose arrays are known already.

    Args:
        config: Ranges of retention and strength, the constraint, cache and precision.
        countries: Arrays by country.
        model: The global model.
        say: Called with a line of progress.
        num_settings: Settings of each country.

    Raises:
        ValueError: The model has no linear head, or no setting keeps enough pairs.
        RuntimeError: A feature is not finite.
    """
    reward, folder, precision = open_features(config, model)
    settings = draw_search_settings(config.search, num_settings)
    results = []
    for country, data in countries.items():
        train, validation = probe_pairs(reward, data, folder, precision=precision, say=say)
        result = probe_pair_sets(
            country,
            train,
            validation,
            settings,
            num_users=len(np.unique(data.user[data.pairs_in("validation")])),
            min_pairs=config.search.min_pairs,
            min_effective_pairs=config.search.min_effective_pairs,
            max_consensus_drop=config.search.max_consensus_drop,
        )
        say(f"  {describe_probe(result)}")
        results.append(result)
    return results


def draw_search_settings(config: SearchConfig, num_settings: int) -> HeadSettings:
    """Return settings over the ranges of retention and strength of a search."""
    return draw_settings(
        num_settings,
        retention=config.retention,
        strength=config.strength,
        l2=L2,
        steps=STEPS,
        seed=config.seed,
    )


def probe_pair_sets(
    country: str,
    train: ProbedPairs,
    validation: ProbedPairs,
    settings: HeadSettings,
    *,
    num_users: int,
    min_pairs: int,
    min_effective_pairs: float,
    max_consensus_drop: float,
) -> ProbeResult:
    """Train a head for every setting that keeps enough pairs, and judge it.

    Args:
        country: For the result and messages.
        train: Pairs to train on.
        validation: Pairs to judge by.
        settings: What to try.
        num_users: Users of the validation pairs.
        min_pairs: A setting that keeps fewer never starts.
        min_effective_pairs: A setting whose weights leave fewer never starts.
        max_consensus_drop: Bound of the constraint.

    Raises:
        ValueError: No setting keeps enough pairs, or reference margins do not differ.
    """
    train = train.take(np.argsort(train.reference_margin, kind="stable"))
    keep, weights = select_settings(train.reference_margin, settings)
    kept = keep.sum(axis=1)
    effective = np.array([effective_pairs(row) for row in weights])
    started = np.flatnonzero((kept >= min_pairs) & (effective >= min_effective_pairs))
    if len(started) == 0:
        raise ValueError(
            f"{country}: {min_pairs} pairs and {min_effective_pairs:g} effective ones must be "
            f"kept to train, but no setting keeps more than {kept.max()} and "
            f"{effective.max():.1f} of {len(train.offset)}."
        )
    num_skipped = len(settings) - len(started)
    settings, kept = settings.take(started), kept[started]
    moved = train_heads(
        train.differences,
        train.offset,
        weights[started],
        kept,
        l2=settings.l2,
        steps=settings.steps,
    )
    judged = judge_heads(
        moved, validation.differences, validation.offset, validation.reference_margin
    )
    feasible = judged.consensus_drop <= max_consensus_drop
    global_accuracy = float(np.mean(validation.reference_margin > 0))
    return ProbeResult(
        country,
        settings,
        kept,
        effective[started],
        judged,
        feasible,
        _front(judged.accuracy, kept, feasible & (judged.accuracy > global_accuracy)),
        global_accuracy,
        train.reference_margin,
        len(validation.offset),
        num_users,
        num_skipped,
    )


def select_settings(
    reference_margin: FloatArray, settings: HeadSettings
) -> tuple[BoolArray, FloatArray]:
    """Return what each setting keeps and weighs: `select_setting` for many at once.

    Args:
        reference_margin: d of the country's training pairs, shape (P,).
        settings: S settings.

    Returns:
        Mask and weights, each of shape (S, P); what is not kept has weight 0.

    Raises:
        ValueError: A retention or strength is out of range, or margins do not differ.
    """
    keep = np.stack(
        [retention_mask(reference_margin, share) for share in settings.retention.tolist()]
    )
    in_scales = settings.strength[:, None] * (reference_margin / margin_scale(reference_margin))
    return keep, np.where(keep, pair_weights(in_scales, beta=1.0), 0.0)


def probe_points(
    result: ProbeResult, config: SweepConfig, *, num_points: int = NUM_POINTS
) -> list[Point]:
    """Return points of the front as first trials of the full search, the most accurate first.

    Retention and strength are the front's. Learning rate and epochs are the configuration's:
    what a head is trained with says nothing about them.

    Args:
        result: A country's probe.
        config: The sweep.
        num_points: Points at most, spread evenly over the front.
    """
    points: list[Point] = []
    for number in front_settings(result, num_points=num_points).tolist():
        point = clip_to_space(
            {
                **configured_numbers(config),
                "retention": float(result.settings.retention[number]),
                "strength": float(result.settings.strength[number]),
            },
            config.search,
        )
        if point not in points:
            points.append(point)
    return points


def front_settings(result: ProbeResult, *, num_points: int) -> IntArray:
    """Return settings spread evenly over the front, most pairs (and most accurate) first.

    Of settings with the same pairs and accuracy, the one of least validation loss stands for all.
    """
    front = np.flatnonzero(result.on_front)
    by_loss = front[np.lexsort((result.judged.loss[front], -result.pairs_trained[front]))]
    _, first = np.unique(-result.pairs_trained[by_loss], return_index=True)
    distinct = by_loss[first]
    if len(distinct) <= num_points:
        return distinct
    return distinct[np.rint(np.linspace(0, len(distinct) - 1, num_points)).astype(np.int64)]


def describe_probe(result: ProbeResult) -> str:
    """Return a country's probe in a sentence."""
    skipped = f", {result.num_skipped} kept too little" if result.num_skipped else ""
    outcome = "none keeps the constraint and beats the global model"
    if result.on_front.any():
        best = result.judged.accuracy[result.on_front].max()
        outcome = (
            f"{int(result.feasible.sum())} keep the constraint, {int(result.on_front.sum())} "
            f"on the front, best {best:.1%} (global {result.global_accuracy:.1%})"
        )
    return (
        f"{result.country}: {len(result.settings)} heads{skipped}; {outcome} on "
        f"{result.num_validation} validation pairs of {result.num_users} users"
    )


def _front(accuracy: FloatArray, pairs_trained: IntArray, allowed: BoolArray) -> BoolArray:
    """Return which allowed settings no other allowed one dominates."""
    values = np.stack([accuracy, pairs_trained.astype(np.float64)], axis=1)
    front = np.zeros(len(values), dtype=np.bool_)
    front[allowed] = pareto_front(values[allowed], ("maximize", "minimize"))
    return front
