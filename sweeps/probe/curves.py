"""Data-efficiency curves of heads on the frozen global model's features: minutes, not hours.

Arms, budgets and seeds are those of `curves` in a sweep's configuration, and a budget has the
same labelled pairs as in the sweep's curve trainings. Every head chooses its pull to the global
head by accuracy on inner folds of the users who labelled them; validation users judge it. Out
come records as a sweep's, in a ledger of their own that `scpo curves` reads too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scpo.arrays import IntArray
from scpo.countries.country_data import CountryData
from scpo.files.atomic import write_text
from scpo.files.provenance import installed_versions, source_commit
from scpo.heads.linear_heads import ProbedPairs, head_margins
from sweeps.config import CurvesConfig, HeadsConfig, Say, SweepConfig
from sweeps.jobs.job_inputs import labelled_pairs
from sweeps.jobs.job_records import margin_record
from sweeps.ledger.records import LEDGER_NAME, TrialRecord, encode_records
from sweeps.ledger.words import slug
from sweeps.probe.choose_heads import ChosenHead, choose_heads
from sweeps.probe.probed_pairs import open_features, probe_parts
from sweeps.run.inputs import prepare_all

_FOLDER = "probe_curves"  # in a run's folder: heads are no trials of its sweep


def run_probe_curves(config: SweepConfig, run: Path, say: Say) -> Path:
    """Train the heads of a sweep's curves; return the folder of their ledger, `run`/probe_curves.

    Raises:
        ValueError: The configuration asks for no curve, the model has no linear head, or a
            budget holds pairs of one user only.
    """
    curves = config.curves
    if not curves.arms or not curves.seeds or len(set(curves.budgets)) < 2:
        raise ValueError(
            "A curve needs an arm, a seed and two budgets, but `curves` has "
            f"arms={list(curves.arms)}, seeds={list(curves.seeds)}, "
            f"budgets={list(curves.budgets)}."
        )
    model, steered = prepare_all(config, run, say)
    store = open_features(config, model)
    heads = HeadsConfig(tau=config.tau, beta=config.beta)
    records: list[TrialRecord] = []
    for data in steered.countries.values():
        train, validation = probe_parts(store, data, say)
        found = curve_records(data, train, validation, curves, heads)
        num_failed = sum(record.state == "failed" for record in found)
        failed = f", {num_failed} failed" if num_failed else ""
        say(f"  {data.country}: {len(found)} heads{failed}")
        records += found
    write_ledger(records, run / _FOLDER)
    return run / _FOLDER


def curve_records(
    data: CountryData,
    train: ProbedPairs,
    validation: ProbedPairs,
    config: CurvesConfig,
    heads: HeadsConfig,
) -> list[TrialRecord]:
    """Return the record of every seed, budget and arm of one country.

    An arm that keeps none of the labelled pairs has failed, as it would in a lane. Training and
    validation pairs stand in the order of `data`; `heads` has the candidates of each head.

    Raises:
        ValueError: A budget holds pairs of one user only.
    """
    numbers = data.pairs_in("train")
    records = []
    for seed in config.seeds:
        for budget in config.budgets:
            labelled = labelled_pairs(data, budget, seed)
            num_users = len(np.unique(data.user[labelled]))
            if num_users < 2:
                raise ValueError(
                    f"{data.country}: a head's pull is chosen on other users than train it, so a "
                    f"budget must hold pairs of two users, but {budget:g} of the labelled pairs "
                    f"holds {len(labelled)} of {num_users}. Leave it out of `curves.budgets`."
                )
            folds = {"inner_folds": min(heads.inner_folds, num_users)}
            chosen = choose_heads(
                train.take(np.searchsorted(numbers, labelled)),
                heads.model_copy(update=folds),
                seed=seed,
                arms=config.arms,
                judges=data.judges,
            )
            for head in chosen.values():
                records.append(_record(data, head, validation, labelled, budget, seed))
    about = {"versions": installed_versions(), "commit": source_commit()}
    return [record.model_copy(update=about) for record in records]


def write_ledger(records: Sequence[TrialRecord], folder: Path) -> None:
    """Replace a folder's ledger by these records, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / LEDGER_NAME, encode_records(records).decode())


def _record(
    data: CountryData,
    head: ChosenHead,
    validation: ProbedPairs,
    labelled: IntArray,
    budget: float,
    seed: int,
) -> TrialRecord:
    arm = head.candidate.arm
    record = margin_record(
        data,
        head_margins(head.moved, validation),
        trial_id=f"{slug(data.country)}-curve-{arm}-{budget:g}-{seed}",
        arm=arm,
        config={"budget": budget, "l2": head.candidate.l2},
        seed=seed,
        counts={
            "pairs_available": len(data.pairs_in("train")),
            "pairs_labelled": len(labelled),
            "pairs_trained": head.pairs_trained,
        },
    )
    if head.pairs_trained == 0:
        why = f"{data.country}: {arm} keeps 0 of {len(labelled)} pairs."
        record = record.model_copy(update={"state": "failed", "error": why, "evaluation": None})
    return record
