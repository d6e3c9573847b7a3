"""Data-efficiency curves of heads on the frozen global model's features: minutes, not hours.

Arms, budgets and seeds are those of `curves` in a sweep's configuration, and the labelled pairs
of a budget are the very ones that a sweep's curve trainings get. Every head chooses its pull to
the global head by accuracy on inner folds of the users who labelled them; validation users judge
it. Out come records as a sweep's, in a ledger of their own that `scpo curves` reads too.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scpo.arrays import FloatArray, IntArray
from scpo.countries.country_data import CountryData
from scpo.evaluation.held_out import evaluate_margins
from scpo.files.atomic import write_text
from scpo.files.provenance import installed_versions, source_commit, utc_now
from sweeps.config import CurvesConfig, HeadsConfig, Say, SweepConfig
from sweeps.jobs.job import labelled_pairs
from sweeps.ledger.records import LEDGER_NAME, EvaluationRecord, TrialRecord
from sweeps.ledger.words import slug
from sweeps.probe.choose_heads import ChosenHead, choose_heads
from sweeps.probe.probed_pairs import ProbedPairs, open_features, probe_pairs
from sweeps.run.inputs import prepare_all

FOLDER = "probe_curves"  # in a run's folder: heads are no trials of its sweep


def run_probe_curves(config: SweepConfig, run: Path, say: Say) -> Path:
    """Train the heads of all curves and return the folder of their ledger, `run`/probe_curves.

    Args:
        config: The sweep whose curves these are.
        run: Its folder; data and global model are taken from there or put there.
        say: Called with a line of progress.

    Raises:
        ValueError: The configuration asks for no curve, the model has no linear head, or a
            budget holds pairs of one user only.
    """
    check_curves(config.curves)
    model, steered = prepare_all(config, run, say)
    reward, cache, precision = open_features(config, model)
    heads = HeadsConfig(tau=config.tau, beta=config.beta)
    records: list[TrialRecord] = []
    for data in steered.countries.values():
        train, validation = probe_pairs(reward, data, cache, precision=precision, say=say)
        found = curve_records(data, train, validation, config.curves, heads)
        num_failed = sum(record.state == "failed" for record in found)
        failed = f", {num_failed} failed" if num_failed else ""
        say(f"  {data.country}: {len(found)} heads{failed}")
        records += found
    write_records(records, run / FOLDER)
    return run / FOLDER


def check_curves(config: CurvesConfig) -> None:
    """Refuse what makes no curve, before anything is computed.

    Raises:
        ValueError: There is no arm, no seed, or only one budget.
    """
    if not config.arms or not config.seeds or len(set(config.budgets)) < 2:
        raise ValueError(
            "A curve needs an arm, a seed and two budgets, but `curves` has "
            f"arms={list(config.arms)}, seeds={list(config.seeds)}, "
            f"budgets={list(config.budgets)}."
        )


def curve_records(
    data: CountryData,
    train: ProbedPairs,
    validation: ProbedPairs,
    config: CurvesConfig,
    heads: HeadsConfig,
) -> list[TrialRecord]:
    """Return the record of every seed, budget and arm of one country.

    An arm that keeps none of the labelled pairs has failed, as it would in a lane.

    Args:
        data: The country's arrays.
        train: Its training pairs, in their order there.
        validation: Its validation pairs, likewise.
        config: Arms, budgets and seeds.
        heads: What each head chooses from.

    Raises:
        ValueError: A budget holds pairs of one user only.
    """
    numbers = data.pairs_in("train")
    held = validation.differences.T.astype(np.float64)
    records = []
    for seed in config.seeds:
        for budget in config.budgets:
            labelled = labelled_pairs(data, budget, seed)
            chosen = choose_heads(
                train.take(np.searchsorted(numbers, labelled)),
                data.user[labelled],
                _fit_folds(heads, data, labelled, budget),
                seed=seed,
                arms=config.arms,
            )
            for arm, head in chosen.items():
                margin = validation.offset + head.moved.astype(np.float64) @ held
                records.append(_record(data, arm, head, margin, labelled, budget, seed))
    about = {"versions": installed_versions(), "commit": source_commit()}
    return [record.model_copy(update=about) for record in records]


def write_records(records: Sequence[TrialRecord], folder: Path) -> None:
    """Write a ledger, whole or not at all, in place of an earlier one."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (
        json.dumps(record.model_dump(), allow_nan=False, ensure_ascii=False) for record in records
    )
    write_text(folder / LEDGER_NAME, "".join(f"{line}\n" for line in lines))


def _fit_folds(
    heads: HeadsConfig, data: CountryData, labelled: IntArray, budget: float
) -> HeadsConfig:
    """Return what heads choose from, with no more inner folds than users."""
    num_users = len(np.unique(data.user[labelled]))
    if num_users < 2:
        raise ValueError(
            f"{data.country}: a head's pull is chosen on other users than train it, so a budget "
            f"must hold pairs of two users, but {budget:g} of the labelled pairs holds "
            f"{len(labelled)} of {num_users}. Leave it out of `curves.budgets`."
        )
    return heads.model_copy(update={"inner_folds": min(heads.inner_folds, num_users)})


def _record(
    data: CountryData,
    arm: str,
    head: ChosenHead,
    margin: FloatArray,
    labelled: IntArray,
    budget: float,
    seed: int,
) -> TrialRecord:
    """Return the record of one head, whose validation pairs have these margins."""
    record = TrialRecord(
        trial_id=f"{slug(data.country)}-curve-{arm}-{budget:g}-{seed}",
        purpose="curve",
        country=data.country,
        arm=arm,
        state="complete",
        config={"budget": budget, "l2": head.candidate.l2},
        config_hash="",
        seed=seed,
        counts={
            "pairs_available": len(data.pairs_in("train")),
            "pairs_labelled": len(labelled),
            "pairs_trained": head.pairs_trained,
        },
        times={"started": utc_now()},
        engine="heads",
    )
    if head.pairs_trained == 0:
        why = f"{data.country}: {arm} keeps 0 of {len(labelled)} pairs."
        return record.model_copy(update={"state": "failed", "error": why})
    evaluation = EvaluationRecord.model_validate(evaluate_margins(margin, data, "validation"))
    return record.model_copy(update={"evaluation": evaluation})
