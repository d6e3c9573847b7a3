"""What a job trains on, and with which numbers."""

from dataclasses import replace
from typing import Any

import numpy as np

from scpo.arrays import IntArray
from scpo.config import LoraConfig, TrainingConfig
from scpo.countries.country_data import CountryData
from scpo.countries.user_agreement import arm_strength, country_agreement
from scpo.method.arms import Selection, select_arm, select_setting
from scpo.tokens.batches import TrainingSet
from sweeps.jobs.job import Job, rung_id
from sweeps.ledger.words import TUNED_ARM, USER


def select_pairs(job: Job, data: CountryData) -> tuple[IntArray, Selection]:
    """Return the labelled pairs a job may use, and what its arm selects of them.

    Raises:
        ValueError: Fewer pairs than `min_pairs` are kept, or a setting is out of range.
    """
    labelled = labelled_pairs(data, job.budget, job.seed)
    margin = data.reference_margin[labelled]
    if job.arm == TUNED_ARM:
        if job.retention is None or job.strength is None:
            raise ValueError(f"{job.trial_id}: retention and strength must be set.")
        user_strength = job.user_strength or 0.0
        selection = select_setting(
            margin,
            retention=job.retention,
            strength=job.strength,
            agreement=country_agreement(data, labelled) if user_strength else None,
            user_strength=user_strength,
        )
    else:
        given: dict[str, Any] = {"tau": job.tau, "beta": job.beta}
        if job.arm == USER:
            given["user_strength"] = arm_strength(data, labelled, job.user_strength)
            given["agreement"] = country_agreement(data, labelled)
        given = {name: value for name, value in given.items() if value is not None}
        selection = select_arm(job.arm, margin, seed=job.seed, **given)
    num_kept = int(selection.keep.sum())
    if num_kept < job.min_pairs:
        raise ValueError(
            f"{job.country}: at least {job.min_pairs} pairs must be kept to train, but "
            f"{job.arm} keeps {num_kept} of {len(labelled)}."
        )
    return labelled, selection


def labelled_pairs(data: CountryData, budget: float, seed: int) -> IntArray:
    """Return the training pairs within a budget: whole interactions in one order for all arms.

    Budgets of one seed are nested, so arms and sizes share their random numbers.

    Raises:
        ValueError: `0 < budget <= 1` does not hold.
    """
    if not 0.0 < budget <= 1.0:
        raise ValueError(f"`0 < budget <= 1` must hold, but got {budget}.")
    pairs = data.pairs_in("train")
    interactions, index, counts = np.unique(
        data.pairs.interaction[pairs], return_inverse=True, return_counts=True
    )
    order = np.random.default_rng(seed).permutation(len(interactions))
    before = np.zeros(len(interactions))
    before[order] = np.cumsum(counts[order]) - counts[order]
    return pairs[before[index] < budget * len(pairs)]


def training_set(data: CountryData, labelled: IntArray, selection: Selection) -> TrainingSet:
    """Return the pairs that a selection keeps, with their weights."""
    pairs = data.training_set(labelled[selection.keep], selection.weights[selection.keep])
    return replace(pairs, facts={**pairs.facts, **selection.numbers})


def job_training(job: Job, training: TrainingConfig) -> TrainingConfig:
    """Return the training configuration with the job's own numbers in it."""
    own = {"learning_rate": job.learning_rate, "epochs": job.epochs, "seed": job.seed}
    if job.lora_rank is None:
        return training.model_copy(update=own)
    if job.lora_rank == 0:
        return training.model_copy(update={**own, "lora": None})
    lora = training.lora or LoraConfig()
    alpha = lora.alpha / lora.rank * job.lora_rank  # adapters act as strongly at every rank
    lora = lora.model_copy(update={"rank": job.lora_rank, "alpha": alpha})
    return training.model_copy(update={**own, "lora": lora})


def rung_job(job: Job, data: CountryData, rung: int) -> Job:
    """Return the training of a job at one of its rungs: as many labelled pairs, or few more."""
    return replace(
        job,
        trial_id=rung_id(job.trial_id, rung),
        budget=rung / len(data.pairs_in("train")),
        min_pairs=1,
    )
