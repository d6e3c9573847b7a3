"""One country of a data set whose arms are heads: a cell of plain values in, a result out.

Each seed deals the country's users into folds anew; each fold is judged by heads that never saw
its users, and every user is judged once a seed.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from scpo.arrays import FloatArray
from scpo.choices import Overlong
from scpo.config import parse_config
from scpo.countries.country_data import (
    CountryData,
    build_country,
    pair_margins,
    rows_of,
    utterance_texts,
)
from scpo.countries.features import FeatureArray
from scpo.data.interactions import read_interactions
from scpo.evaluation.held_out import evaluate_margins
from scpo.files.provenance import installed_versions, source_commit, utc_now
from scpo.method.strength import margin_scale
from scpo.models.loading import load_reward_model
from scpo.tokens.token_store import load_or_encode
from sweeps.ledger.records import EvaluationRecord, TrialRecord
from sweeps.ledger.words import HEAD_ARMS, UNTRAINED, slug
from sweeps.probe.choose_heads import ChosenHead, choose_heads, deal_users
from sweeps.probe.probed_pairs import ProbedPairs
from sweeps.research.study.frozen_arrays import (
    FrozenArrays,
    global_pool,
    pair_differences,
    train_global_head,
)
from sweeps.research.study.study_config import FrozenConfig
from sweeps.research.study.survey_similarity import (
    Survey,
    arm_similarity,
    baseline_similarity,
    survey_of,
)

FILES = ("features.npy", "against.npy")  # of a data set's folder, beside its interactions


@dataclass(frozen=True)
class FrozenCell:
    """One country of a data set, in plain values.

    Attributes:
        folder: Folder of the data set's arrays.
        country: The country.
        steered: All countries of the study.
        backbone: Whose features they are.
        seeds: Seeds of folds and of `random_k`.
        folds: Folds of users.
        config: The data set's configuration, dumped.
    """

    folder: str
    country: str
    steered: tuple[str, ...]
    backbone: str
    seeds: tuple[int, ...]
    folds: int
    config: dict[str, Any]


def compute_cell(cell: FrozenCell) -> dict[str, Any]:
    """Return one country's result.

    Returns:
        `records` of every arm and seed as JSON values; `similarity` of every arm to the shares
        of people by question, where there are any; `margin_scale`, the standard deviation of the
        global head's margins; `wall_s`.
    """
    clock = time.perf_counter()
    config = parse_config(FrozenConfig, cell.config, cell.country)
    encoder = config.encoder
    arrays = load_arrays(cell.folder, cell.backbone, encoder.max_tokens, encoder.overlong)
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
        overlong=encoder.overlong,
    )
    survey = survey_of(arrays.table, cell.country) if config.has_shares else None
    records = [_record(cell, data, arm, margin) for arm, margin in _untrained(data).items()]
    similar = {} if survey is None else baseline_similarity(survey, data.reference)
    for seed in cell.seeds:
        rewards, chosen = out_of_fold(data, features, config, seed=seed, folds=cell.folds)
        for arm in HEAD_ARMS:
            margin = pair_margins(rewards[arm], data.pairs)
            records.append(_record(cell, data, arm, margin, seed=seed, chosen=chosen[arm]))
        if survey is not None:
            _add_similarity(similar, survey, rewards, 1 / len(cell.seeds))
    about = {"versions": installed_versions(), "commit": source_commit()}
    return {
        "country": cell.country,
        "records": [record.model_copy(update=about).model_dump(mode="json") for record in records],
        "similarity": {name: scores.tolist() for name, scores in similar.items()},
        "questions": [] if survey is None else list(survey.names),
        "global_pairs": min(len(pool), config.heads.max_global_pairs),
        "margin_scale": margin_scale(data.reference_margin),
        "wall_s": time.perf_counter() - clock,
    }


def out_of_fold(
    data: CountryData, features: FeatureArray, config: FrozenConfig, *, seed: int, folds: int
) -> tuple[dict[str, FloatArray], dict[str, list[ChosenHead]]]:
    """Return each arm's rewards of all texts, each by the head that never saw its user.

    Args:
        data: The country; its reference rewards are the global head's.
        features: Of its texts, shape (U, D).
        config: Candidates of the heads.
        seed: Seed of the folds.
        folds: Number of folds.

    Returns:
        Rewards by arm, shape (U,), and the heads of each fold by arm.
    """
    fold = deal_users(data.user, folds, seed=seed)
    fold_of_text = np.zeros(len(features), dtype=np.int64)  # texts without a pair: any head
    for end in (data.pairs.chosen, data.pairs.rejected):
        fold_of_text[end] = fold
    margin = data.reference_margin
    pairs = ProbedPairs(pair_differences(features, data.pairs), margin, margin)
    rewards = {arm: data.reference.copy() for arm in HEAD_ARMS}
    chosen: dict[str, list[ChosenHead]] = {arm: [] for arm in HEAD_ARMS}
    for number in range(folds):
        seen = np.flatnonzero(fold != number)
        heads = choose_heads(pairs.take(seen), data.user[seen], config.heads, seed=seed)
        held = fold_of_text == number
        for arm, head in heads.items():
            rewards[arm][held] += features[held].astype(np.float64) @ head.moved
            chosen[arm].append(head)
    return rewards, chosen


@cache
def load_arrays(folder: str, backbone: str, max_tokens: int, overlong: Overlong) -> FrozenArrays:
    """Return the arrays of a data set, read once a process.

    Args:
        folder: Where `prepare_arrays` put them.
        backbone: Whose tokenizer cuts the texts.
        max_tokens: Longest text.
        overlong: What happens to longer ones.
    """
    place = Path(folder)
    table = read_interactions(place / "data")
    reward = load_reward_model(backbone, new_head=True)
    prompts, responses = utterance_texts(table)
    texts = load_or_encode(
        place, reward.tokenizer, prompts, responses, max_tokens=max_tokens, overlong=overlong
    )
    features, against = (np.load(place / name) for name in FILES)
    return FrozenArrays(table, texts, features, against)


def _untrained(data: CountryData) -> dict[str, FloatArray]:
    """Return the margins of what needs no training."""
    return dict(zip(UNTRAINED, (data.reference_margin, data.length_margin), strict=True))


def _record(
    cell: FrozenCell,
    data: CountryData,
    arm: str,
    margin: FloatArray,
    *,
    seed: int | None = None,
    chosen: Sequence[ChosenHead] = (),
) -> TrialRecord:
    """Return the record of one arm, all folds together; without a seed it was not trained."""
    evaluation = EvaluationRecord.model_validate(evaluate_margins(margin, data, "validation"))
    counts = {"pairs_available": float(len(data.pairs)), "pairs_trained": 0.0}
    config: dict[str, float | int | str | None] = {"folds": cell.folds}
    if chosen:
        counts["pairs_trained"] = float(np.mean([head.pairs_trained for head in chosen]))
        config["l2"] = _mean([head.candidate.l2 for head in chosen])
        config["retention"] = _mean([head.candidate.retention for head in chosen])
        config["strength"] = _mean([head.candidate.strength for head in chosen])
    return TrialRecord(
        trial_id=f"{slug(cell.country)}-{arm}-{0 if seed is None else seed}",
        purpose="curve",
        country=cell.country,
        arm=arm,
        state="complete",
        config=config,
        config_hash="",
        seed=0 if seed is None else seed,
        evaluation=evaluation,
        counts=counts,
        times={"started": utc_now()},
        engine="heads" if chosen else "none",
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean over folds; None where the arm has no such setting."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _add_similarity(
    similar: dict[str, FloatArray], survey: Survey, rewards: dict[str, FloatArray], share: float
) -> None:
    """Add a share of each arm's similarity, so that seeds are averaged."""
    for arm, given in rewards.items():
        for name, scores in arm_similarity(survey, arm, given).items():
            similar[name] = similar.get(name, 0.0) + share * scores
