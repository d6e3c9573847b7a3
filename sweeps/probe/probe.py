"""The probe: frozen backbone, thousands of heads per country, the front as first trials.

The features of all training and validation texts are computed once and cached; then heads for
many (retention, strength, user strength, L2, steps) train as one array program a country. Only
the selection carries over to full fine-tuning: a point takes it from the front, and
learning rate and epochs from the configuration, about which a head says nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scpo.arrays import BoolArray, FloatArray, IntArray
from scpo.countries.country_data import CountryData
from scpo.countries.user_agreement import why_no_user_weights
from scpo.heads.linear_heads import JudgedHeads, ProbedPairs, head_margins, judge_heads
from scpo.method.weighting import effective_pairs
from scpo.models.model_source import ModelSource
from scpo.statistics.wording import format_accuracy
from scpo.text.counts import format_below, format_count
from sweeps.config import Say, SearchConfig, SweepConfig
from sweeps.probe.choose_heads import train_selections
from sweeps.probe.fold_choice import FoldCounts, choose_in_folds, count_margins
from sweeps.probe.head_settings import HeadSettings, draw_settings
from sweeps.probe.probed_pairs import open_features, probe_parts
from sweeps.ranking.pareto import pareto_front
from sweeps.run.inputs import prepare_all
from sweeps.search.space import Point, clip_to_space, configured_numbers, search_of

NUM_SETTINGS = 1024
_L2 = (1e-4, 10.0)
_STEPS = (2, 24)
NUM_POINTS = 4


@dataclass(frozen=True)
class ProbeResult:
    """What the heads of one country showed; arrays have one value for each of S settings."""

    country: str
    settings: HeadSettings  # those that were trained
    pairs_trained: IntArray  # pairs kept
    effective_pairs: FloatArray  # what the weights leave of them
    judged: JudgedHeads  # on validation pairs
    feasible: BoolArray  # whether consensus accuracy is not shown to fall further than allowed
    # The setting to use by the lower bound of its gain on plain fine-tuning or the global model,
    # else that base; None for the global model.
    chosen: int | None
    # Whether it is feasible and nothing feasible dominates it in accuracy and pairs, the global
    # model with its 0 pairs included.
    on_front: BoolArray
    global_accuracy: float  # of the global model on the same validation pairs
    reference_margin: FloatArray  # of the training pairs, ascending, shape (P,)
    num_validation: int  # validation pairs
    num_users: int  # users that gave them
    num_skipped: int  # settings that kept too little to start


def run_probe(
    config: SweepConfig, run: Path, say: Say, *, num_settings: int = NUM_SETTINGS
) -> list[ProbeResult]:
    """Probe every country of a sweep; its run's folder holds data and global model, or gets them.

    Raises:
        ValueError: See `probe_countries`; or there are too few data.
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

    Raises:
        ValueError: The model has no linear head, or no setting keeps enough pairs.
        RuntimeError: A feature is not finite.
    """
    store = open_features(config, model)
    results = []
    for country, data in countries.items():
        train, validation = probe_parts(store, data, say)
        search = search_of(config.search, can_weigh_users=why_no_user_weights(data) is None)
        settings = draw_settings(
            num_settings,
            retention=search.retention,
            strength=search.strength,
            user_strength=search.user_strength or (0.0, 0.0),
            l2=_L2,
            steps=_STEPS,
            seed=search.seed,
        )
        result = probe_pair_sets(country, train, validation, settings, search)
        say(f"  {describe_probe(result)}")
        results.append(result)
    return results


def probe_pair_sets(
    country: str,
    train: ProbedPairs,
    validation: ProbedPairs,
    settings: HeadSettings,
    search: SearchConfig,
) -> ProbeResult:
    """Train a head for every setting that keeps enough pairs, and judge it.

    `search` says what is enough and gives the rule of the choice.

    Raises:
        ValueError: No setting keeps enough pairs, or reference margins do not differ.
    """
    train = train.by_margin()
    selections = settings.select(train)
    kept = np.array([selection.keep.sum() for selection in selections])
    effective = np.array([effective_pairs(selection.weights) for selection in selections])
    enough = (kept >= search.min_pairs) & (effective >= search.min_effective_pairs)
    started = np.flatnonzero(enough)
    if len(started) == 0:
        raise ValueError(
            f"{country}: {search.min_pairs} pairs and {search.min_effective_pairs:g} effective "
            f"ones must be kept to train, but no setting keeps more than {kept.max()} and "
            f"{effective.max():.1f} of {len(train)}."
        )
    num_skipped = len(settings) - len(started)
    settings, kept = settings.take(started), kept[started]
    selections = [selections[number] for number in started.tolist()]
    moved = train_selections(train, selections, l2=settings.l2, steps=settings.steps)
    judged = judge_heads(moved, validation)
    started_all = np.ones(len(settings), dtype=np.bool_)
    margins = head_margins(moved, validation)[None]
    counts = count_margins(margins, validation.reference_margin, validation.user, started_all)
    feasible = counts.excess(search.max_consensus_drop) == 0.0
    global_accuracy = float(np.mean(validation.reference_margin > 0))
    on_front = feasible & (judged.accuracy > global_accuracy)
    values = np.column_stack([judged.accuracy, kept])
    on_front[on_front] = pareto_front(values[on_front])
    return ProbeResult(
        country,
        settings,
        kept,
        effective[started],
        judged,
        feasible,
        _choose(counts, settings, search),
        on_front,
        global_accuracy,
        train.reference_margin,
        len(validation),
        len(counts.pairs),
        num_skipped,
    )


def _choose(counts: FoldCounts, settings: HeadSettings, search: SearchConfig) -> int | None:
    """Return the setting to use; the most accurate plain one is the base, where there is one."""
    order = counts.order(search.max_consensus_drop)
    is_plain = (settings.retention == 1.0) & (settings.strength + settings.user_strength == 0.0)
    plain = order[is_plain[order]]
    return choose_in_folds(
        counts,
        int(plain[0]) if len(plain) else None,
        order,
        caution=search.caution,
        max_consensus_drop=search.max_consensus_drop,
    )


def probe_points(
    result: ProbeResult, config: SweepConfig, *, num_points: int = NUM_POINTS
) -> list[Point]:
    """Return points of the front as first trials of the full search, the most accurate first.

    Retention and strengths are the front's, of points spread evenly over it. Learning rate and
    epochs are the configuration's: what a head is trained with says nothing about them.
    """
    weighs_users = bool(result.settings.user_strength.any())
    search = search_of(config.search, can_weigh_users=weighs_users)
    points: list[Point] = []
    for number in front_settings(result, num_points=num_points).tolist():
        point = clip_to_space(
            {
                **configured_numbers(config),
                "retention": float(result.settings.retention[number]),
                "strength": float(result.settings.strength[number]),
                "user_strength": float(result.settings.user_strength[number]),
            },
            search,
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
    outcome = f"{_describe_chosen(result)}; none keeps the constraint and beats the global model"
    if result.on_front.any():
        best = result.judged.accuracy[result.on_front].max()
        outcome = (
            f"{_describe_chosen(result)}; {int(result.feasible.sum())} keep the constraint, "
            f"{int(result.on_front.sum())} on the front, best {format_accuracy(best)} "
            f"(global {format_accuracy(result.global_accuracy)})"
        )
    return (
        f"{result.country}: {format_count(len(result.settings), 'head')}{skipped}; {outcome} on "
        f"{format_count(result.num_validation, 'validation pair')} of "
        f"{format_count(result.num_users, 'user')}"
    )


def _describe_chosen(result: ProbeResult) -> str:
    """Return what a country's heads say to use."""
    if result.chosen is None:
        return "keep the global model"
    columns = vars(result.settings)
    retention, strength, of_users = (
        float(columns[name][result.chosen]) for name in ("retention", "strength", "user_strength")
    )
    if (retention, strength, of_users) == (1.0, 0.0, 0.0):
        return "plain fine-tuning"
    users = f", user strength {of_users:.2g}" if of_users else ""
    kept = format_below(100 * retention, 2, whole=100)
    return f"{kept} % of the pairs at strength {strength:.2g}{users}"
