"""Every arm as a head on frozen features: every country of a data set is a cell.

A cell is computed once, by any process, and kept in a file, so an interrupted study resumes. Each
seed deals the country's users into folds anew; each fold is judged by heads that never saw its
users, and every user is judged once a seed.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scpo.arrays import FeatureArray, FloatArray
from scpo.config import parse_config
from scpo.countries.country_data import CountryData, build_country, pair_margins, rows_of
from scpo.data.reading.countries import find_countries
from scpo.files.provenance import installed_versions, source_commit
from scpo.heads.linear_heads import ProbedPairs
from scpo.heads.user_margins import MIN_USERS
from scpo.method.strength import margin_scale
from scpo.statistics.user_folds import deal_users
from sweeps.config import Say
from sweeps.jobs.folds import mean_if_known
from sweeps.jobs.job_records import margin_record
from sweeps.lanes.cells import finish_cells
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import BASELINE, HEAD_ARMS, UNTRAINED, USER, slug
from sweeps.probe.choose_heads import ChosenHead, choose_heads
from sweeps.research.study.annotators import simulate_annotators
from sweeps.research.study.frozen_arrays import (
    FrozenArrays,
    count_units,
    global_pool,
    load_arrays,
    pair_differences,
    prepare_arrays,
    train_global_head,
)
from sweeps.research.study.study_config import FrozenConfig, StudyConfig
from sweeps.research.study.survey_kin import kin_similarity
from sweeps.research.study.survey_similarity import arm_similarity, baseline_similarity, survey_of


@dataclass(frozen=True)
class FrozenCell:
    """One country of a data set, in plain values."""

    folder: str  # of the data set's arrays
    country: str
    steered: tuple[str, ...]  # all countries of the study
    backbone: str  # whose features they are
    seeds: tuple[int, ...]  # of folds and of `random_k`
    folds: int  # folds of users
    config: dict[str, Any]  # the data set's configuration, dumped


def run_frozen(
    config: FrozenConfig, study: StudyConfig, folder: Path, say: Say, num_processes: int | None
) -> list[dict[str, Any]]:
    """Return the results of all countries of a data set, as `compute_frozen_cell` gives them.

    Raises:
        FileNotFoundError: No such data or backbone.
        ValueError: No country has enough users, or a file is of other settings.
    """
    table = prepare_arrays(config, folder, say, study)
    counts = count_units(table)
    if config.countries is not None:
        steered = tuple(find_countries(config.countries, counts))
    else:
        steered = tuple(name for name, count in counts.items() if count >= config.min_units)
    if not steered:
        raise ValueError(
            f"One country at least must have {config.min_units} {config.unit}s with pairs, but "
            f"the most is {max(counts.values(), default=0)}. Lower min_units."
        )
    unset = {"annotators"} if config.annotators is None else set()  # cells of before lack it
    dumped = config.model_dump(mode="json", exclude=unset)
    rest = (steered, study.backbone, study.seeds, study.folds, dumped)
    cells = {slug(country): FrozenCell(str(folder), country, *rest) for country in steered}
    say(f"{config.title}: {len(cells)} countries, heads on frozen features")
    results = finish_cells(
        cells, compute_frozen_cell, folder / "cells", say, num_processes=num_processes
    )
    return list(results.values())


def compute_frozen_cell(cell: FrozenCell) -> dict[str, Any]:
    """Return one country's result.

    Returns:
        `records` of every arm and seed as JSON values; `similarity` of every arm to the shares
        of people by question, where there are any; `margin_scale`, the standard deviation of the
        global head's margins; `wall_s`.
    """
    clock = time.perf_counter()
    config = parse_config(FrozenConfig, cell.config, cell.country)
    arrays = load_arrays(Path(cell.folder), cell.backbone, config.encoder)
    features, data, num_pool = country_arrays(cell, config, arrays)
    survey = survey_of(arrays.table, cell.country) if config.has_shares else None
    margins = zip(UNTRAINED, (data.reference_margin, data.length_margin), strict=True)
    records = [_record(cell, data, arm, margin) for arm, margin in margins]
    similar = {} if survey is None else baseline_similarity(survey, data.reference)
    share = 1 / len(cell.seeds)
    for seed in cell.seeds:
        rewards, chosen = out_of_fold(data, features, config, seed=seed, folds=cell.folds)
        for arm in rewards:
            margin = pair_margins(rewards[arm], data.pairs)
            records.append(_record(cell, data, arm, margin, seed=seed, chosen=chosen[arm]))
            if survey is not None:
                _add(similar, arm_similarity(survey, arm, rewards[arm]), share)
        if survey is not None:
            fold = deal_users(data.user, cell.folds, seed=seed)
            full = features, rewards[BASELINE], chosen[BASELINE], fold
            _add(
                similar, kin_similarity(survey, data, *full, config=config.heads, seed=seed), share
            )
    about = {"versions": installed_versions(), "commit": source_commit()}
    return {
        "country": cell.country,
        "records": [record.model_copy(update=about).model_dump(mode="json") for record in records],
        "similarity": {name: scores.tolist() for name, scores in similar.items()},
        "questions": [] if survey is None else list(survey.names),
        "global_pairs": min(num_pool, config.heads.max_global_pairs),
        "margin_scale": margin_scale(data.reference_margin),
        "wall_s": time.perf_counter() - clock,
    }


def country_arrays(
    cell: FrozenCell, config: FrozenConfig, arrays: FrozenArrays
) -> tuple[FeatureArray, CountryData, int]:
    """Return a country's features, its arrays under a global head, and the pairs it may take."""
    pool = global_pool(arrays, cell.country, cell.steered, config.pool)
    head = train_global_head(arrays, pool, config.heads)
    mine = arrays.texts_of(cell.country)
    features = arrays.features[mine]
    rows = rows_of(arrays.table, [cell.country])
    data = build_country(
        cell.country,
        rows,
        dict.fromkeys(rows["user_id"].to_pylist(), "validation"),
        arrays.texts.take(mine),
        features.astype(np.float64) @ head,
        overlong=config.encoder.overlong,
    )
    return features, data, len(pool)


def _add(similar: dict[str, FloatArray], scores: dict[str, FloatArray], share: float) -> None:
    for name, each in scores.items():
        similar[name] = similar.get(name, 0.0) + share * each


def out_of_fold(
    data: CountryData, features: FeatureArray, config: FrozenConfig, *, seed: int, folds: int
) -> tuple[dict[str, FloatArray], dict[str, list[ChosenHead]]]:
    """Return each arm's rewards of all texts, each by the head that never saw its user.

    The country's reference rewards are the global head's; `features` of its texts have shape
    (U, D). Returned are rewards by arm, shape (U,), and the heads of each fold by arm.
    """
    fold = deal_users(data.user, folds, seed=seed)
    fold_of_text = np.zeros(len(features), dtype=np.int64)  # texts without a pair: any head
    for end in (data.pairs.chosen, data.pairs.rejected):
        fold_of_text[end] = fold
    margin = data.reference_margin
    pairs = ProbedPairs(pair_differences(features, data.pairs), margin, margin, data.user)
    judges: NDArray[np.str_] | None = data.judges
    train, is_of_users = pairs, config.unit == "user"
    if config.annotators is not None:
        train, is_of_users, judges = (
            simulate_annotators(pairs, config.annotators, seed),
            True,
            None,
        )
    seen_users = len(np.unique(train.user)) * (folds - 1) // folds
    weighs_users = is_of_users and seen_users >= MIN_USERS
    arms = [arm for arm in HEAD_ARMS if arm != USER or weighs_users]
    rewards = {arm: data.reference.copy() for arm in arms}
    chosen: dict[str, list[ChosenHead]] = {arm: [] for arm in arms}
    for number in range(folds):
        seen = np.flatnonzero(fold != number)
        heads = choose_heads(train.take(seen), config.heads, seed=seed, arms=arms, judges=judges)
        held = fold_of_text == number
        for arm, head in heads.items():
            rewards[arm][held] += features[held].astype(np.float64) @ head.moved
            chosen[arm].append(head)
    return rewards, chosen


def _record(
    cell: FrozenCell,
    data: CountryData,
    arm: str,
    margin: FloatArray,
    *,
    seed: int = 0,
    chosen: Sequence[ChosenHead] = (),
) -> TrialRecord:
    counts = {"pairs_available": float(len(data.pairs)), "pairs_trained": 0.0}
    config: dict[str, float | int | str | None] = {"folds": cell.folds}
    if chosen:
        counts["pairs_trained"] = float(np.mean([head.pairs_trained for head in chosen]))
        for name in ("l2", "retention", "strength", "user_strength"):
            config[name] = mean_if_known([getattr(head.candidate, name) for head in chosen])
    return margin_record(
        data,
        margin,
        trial_id=f"{slug(cell.country)}-{arm}-{seed}",
        arm=arm,
        config=config,
        seed=seed,
        counts=counts,
    )
