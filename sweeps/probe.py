"""The probe: frozen backbone, thousands of heads per country, the front as first trials.

The features of all training and validation texts are computed once and cached; then heads for
many (retention, strength, L2, steps) train as one array program a country (`probe_heads`). What
carries over to full fine-tuning is the selection: a point takes retention and strength from the
front, and learning rate and epochs from the configuration, for a head does not show those.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from scpo.arms import select_setting
from scpo.country import CountryData
from scpo.devices import pick_device, resolve_precision
from scpo.features import (
    FeatureArray,
    features_folder,
    features_with_cache,
    reward_head,
)
from scpo.model import RewardModel, content_hash, load_reward_model
from scpo.pairs import IntArray
from scpo.weighting import BoolArray, FloatArray, effective_pairs
from sweeps.config import SearchConfig, SweepConfig
from sweeps.csv_files import write_csv
from sweeps.pareto import pareto_front
from sweeps.preparation import (
    Say,
    obtain_countries,
    obtain_global_model,
    obtain_interactions,
)
from sweeps.probe_heads import (
    HeadSettings,
    JudgedHeads,
    draw_settings,
    judge_heads,
    train_heads,
)
from sweeps.search import Point, clip_to_space

NUM_SETTINGS = 1024
L2 = (1e-4, 10.0)
STEPS = (2, 24)
NUM_POINTS = 4

COLUMNS = (
    "country",
    "retention",
    "tau",
    "strength",
    "beta",
    "l2",
    "steps",
    "pairs_trained",
    "effective_pairs",
    "accuracy",
    "distinctive",
    "consensus_drop",
    "loss",
    "feasible",
    "on_front",
)


@dataclass(frozen=True)
class ProbedPairs:
    """The pairs of one part of a country's users, as differences of features.

    Attributes:
        differences: phi(y+) - phi(y-) of each pair, shape (P, D).
        offset: Margin of the global head on them, shape (P,).
        reference_margin: Margin of the global model, shape (P,).
    """

    differences: FeatureArray
    offset: FloatArray
    reference_margin: FloatArray

    def take(self, which: IntArray) -> "ProbedPairs":
        """Return the named pairs, in the order named."""
        return ProbedPairs(
            self.differences[which], self.offset[which], self.reference_margin[which]
        )


@dataclass(frozen=True)
class ProbeResult:
    """What the heads of one country showed; arrays have one value for each of S settings.

    Attributes:
        country: Its name.
        settings: The settings that were trained, S of them.
        tau: Filter threshold that each amounts to.
        beta: Weighting temperature of each; infinity for no weighting.
        pairs_trained: Pairs kept.
        effective_pairs: What the weights leave of them.
        judged: Figures on validation pairs.
        feasible: Whether consensus accuracy fell no further than allowed.
        on_front: Whether no feasible setting is better in accuracy or pairs and as good in both.
        global_accuracy: Of the global model on the same validation pairs.
        num_available: Training pairs of the country.
        num_validation: Validation pairs.
        num_users: Users that gave them.
        num_skipped: Settings that kept too few pairs to start.
    """

    country: str
    settings: HeadSettings
    tau: FloatArray
    beta: FloatArray
    pairs_trained: IntArray
    effective_pairs: FloatArray
    judged: JudgedHeads
    feasible: BoolArray
    on_front: BoolArray
    global_accuracy: float
    num_available: int
    num_validation: int
    num_users: int
    num_skipped: int


def run_probe(
    config: SweepConfig, run: Path, say: Say, *, num_settings: int = NUM_SETTINGS
) -> list[ProbeResult]:
    """Probe every country of a configuration and write `probe.csv` into a run's folder.

    Args:
        config: The sweep that the probe prepares.
        run: Its folder; data and global model are taken from there or put there.
        say: Called with a line of progress.
        num_settings: Settings of each country.

    Raises:
        ValueError: As of `probe_countries`, or the data do not suffice.
    """
    table = obtain_interactions(config.data, run / "data", say)
    model = obtain_global_model(config, table, run / "global", say)
    steered = obtain_countries(config, table, model, run, say)
    results = probe_countries(
        config, steered.countries, model, say, num_settings=num_settings
    )
    write_probe(results, run / "probe.csv")
    return results


def probe_countries(
    config: SweepConfig,
    countries: Mapping[str, CountryData],
    model: Path,
    say: Say,
    *,
    num_settings: int = NUM_SETTINGS,
) -> list[ProbeResult]:
    """Probe countries whose arrays are known already.

    Args:
        config: Ranges of retention and strength, the constraint, cache and precision.
        countries: Arrays by country.
        model: Folder of the global model.
        say: Called with a line of progress.
        num_settings: Settings of each country.

    Raises:
        ValueError: The model has no linear head, or no setting keeps enough pairs.
        RuntimeError: A feature is not finite.
    """
    reward = load_reward_model(
        str(model), trust_remote_code=config.global_model.trust_remote_code
    ).to(pick_device())
    precision = resolve_precision(config.training.precision, reward.model.device)
    folder = features_folder(
        Path(config.cache), model_hash=content_hash(model), precision=precision
    )
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


def probe_pairs(
    reward: RewardModel, data: CountryData, folder: Path, *, precision: Any, say: Say
) -> tuple[ProbedPairs, ProbedPairs]:
    """Return a country's training and validation pairs on the features of their texts.

    Texts of test users are not read.

    Args:
        reward: The global model.
        data: The country's arrays.
        folder: Folder of `scpo.features.features_folder`.
        precision: Precision of the matrix products.
        say: Told how many features were computed.

    Raises:
        ValueError: A part has no pairs, or the model has no linear head.
        RuntimeError: A feature is not finite.
    """
    parts = [data.pairs_in("train"), data.pairs_in("validation")]
    both = data.pairs.take(np.concatenate(parts))
    needed, number = np.unique(
        np.concatenate([both.chosen, both.rejected]), return_inverse=True
    )
    report = features_with_cache(reward, data.texts, needed, folder, precision=precision)
    say(
        f"{data.country}: features of {report.num_computed} texts computed, "
        f"{report.num_cached} from the cache"
    )
    chosen, rejected = np.split(number, 2)
    differences = report.features[chosen] - report.features[rejected]
    weight = reward_head(reward).weight[0].detach().cpu().numpy().astype(np.float64)
    pairs = ProbedPairs(
        differences, differences @ weight, data.reference_margin[np.concatenate(parts)]
    )
    split = len(parts[0])
    return pairs.take(np.arange(split)), pairs.take(np.arange(split, len(differences)))


def probe_pair_sets(
    country: str,
    train: ProbedPairs,
    validation: ProbedPairs,
    settings: HeadSettings,
    *,
    num_users: int,
    min_pairs: int,
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
        max_consensus_drop: Bound of the constraint.

    Raises:
        ValueError: No setting keeps enough pairs, or reference margins do not differ.
    """
    train = train.take(np.argsort(train.reference_margin, kind="stable"))
    selections = [
        select_setting(train.reference_margin, retention=retention, strength=strength)
        for retention, strength in zip(
            settings.retention.tolist(), settings.strength.tolist(), strict=True
        )
    ]
    kept = np.array([int(selection.keep.sum()) for selection in selections])
    started = np.flatnonzero(kept >= min_pairs)
    if len(started) == 0:
        raise ValueError(
            f"{country}: at least {min_pairs} pairs must be kept to train, but no setting keeps "
            f"more than {kept.max()} of {len(train.offset)}."
        )
    chosen = [selections[number] for number in started]
    weights = np.stack([selection.weights for selection in chosen])
    settings = settings.take(started)
    moved = train_heads(
        train.differences,
        train.offset,
        weights,
        kept[started],
        l2=settings.l2,
        steps=settings.steps,
    )
    judged = judge_heads(
        moved, validation.differences, validation.offset, validation.reference_margin
    )
    feasible = judged.consensus_drop <= max_consensus_drop
    return ProbeResult(
        country,
        settings,
        np.array([selection.tau for selection in chosen], dtype=np.float64),
        np.array([selection.beta or np.inf for selection in chosen]),
        kept[started],
        np.array([effective_pairs(row) for row in weights]),
        judged,
        feasible,
        _front(judged, kept[started], feasible),
        float(np.mean(validation.reference_margin > 0)),
        len(train.offset),
        len(validation.offset),
        num_users,
        len(selections) - len(started),
    )


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
                "retention": float(result.settings.retention[number]),
                "strength": float(result.settings.strength[number]),
                "learning_rate": config.training.learning_rate,
                "epochs": config.training.epochs,
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


def write_probe(results: Sequence[ProbeResult], path: Path) -> None:
    """Write every setting of every country as CSV, whole or not at all."""
    rows = [
        _row(result, number) for result in results for number in range(len(result.settings))
    ]
    write_csv(COLUMNS, rows, path)


def probe_table(results: Sequence[ProbeResult], *, num_points: int = NUM_POINTS) -> Table:
    """Return points of each country's front as a table for the terminal."""
    table = Table(title="Fronts of linear heads, validation users", title_justify="left")
    table.add_column("country")
    for name in ("pairs", "strength", "L2", "steps", "accuracy", "distinctive", "global"):
        table.add_column(name, justify="right")
    for result in results:
        numbers = front_settings(result, num_points=num_points).tolist()
        if not numbers:
            table.add_row(escape(result.country), "none keeps the constraint")
        for number in numbers:
            row = _row(result, number)
            table.add_row(
                escape(result.country),
                f"{row['pairs_trained']} ({row['retention']:.0%}, tau {row['tau']:.2g})",
                f"{row['strength']:.2g} (beta {row['beta'] or np.inf:.2g})",
                f"{row['l2']:.1e}",
                f"{row['steps']}",
                f"{row['accuracy']:.1%}",
                "" if row["distinctive"] is None else f"{row['distinctive']:.1%}",
                f"{result.global_accuracy:.1%}",
            )
        table.add_section()
    return table


def describe_probe(result: ProbeResult) -> str:
    """Return a country's probe in a sentence."""
    skipped = f", {result.num_skipped} kept too few pairs" if result.num_skipped else ""
    outcome = "none keeps the constraint"
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


def _front(judged: JudgedHeads, pairs_trained: IntArray, feasible: BoolArray) -> BoolArray:
    """Return which feasible settings no other feasible one beats."""
    values = np.stack([judged.accuracy, pairs_trained.astype(np.float64)], axis=1)
    front = np.zeros(len(values), dtype=np.bool_)
    front[feasible] = pareto_front(values[feasible], ("maximize", "minimize"))
    return front


def _row(result: ProbeResult, number: int) -> dict[str, Any]:
    """Return one setting's cells by column; None for no weighting and for no such pairs."""
    settings, judged = result.settings, result.judged
    beta, distinctive = float(result.beta[number]), float(judged.distinctive[number])
    return {
        "country": result.country,
        "retention": float(settings.retention[number]),
        "tau": float(result.tau[number]),
        "strength": float(settings.strength[number]),
        "beta": None if np.isinf(beta) else beta,
        "l2": float(settings.l2[number]),
        "steps": int(settings.steps[number]),
        "pairs_trained": int(result.pairs_trained[number]),
        "effective_pairs": float(result.effective_pairs[number]),
        "accuracy": float(judged.accuracy[number]),
        "distinctive": None if np.isnan(distinctive) else distinctive,
        "consensus_drop": float(judged.consensus_drop[number]),
        "loss": float(judged.loss[number]),
        "feasible": bool(result.feasible[number]),
        "on_front": bool(result.on_front[number]),
    }
