"""The record of a job: trained, pruned, failed or without any training."""

import time
from collections.abc import Callable
from dataclasses import replace

from scpo.arrays import FloatArray
from scpo.config import TrainingConfig
from scpo.countries.country_data import CountryData
from scpo.countries.scoring import score_pairs
from scpo.evaluation.held_out import evaluate_margins
from scpo.files.provenance import installed_versions, source_commit, utc_now
from scpo.method.strength import margin_scale
from scpo.method.weighting import effective_pairs
from scpo.models.reward_model import LoadedModel, content_hash
from scpo.text.secrets import mask_secrets
from scpo.tokens.batches import TrainingSet
from scpo.training.fit import fit_on_device
from scpo.training.loop import TrainingResult
from sweeps.jobs.job import Job, job_training, select_pairs, training_set
from sweeps.ledger.consensus_drop import CONSENSUS_DROP, shown_excess
from sweeps.ledger.records import EvaluationRecord, Part, State, TrialRecord
from sweeps.ledger.words import LENGTH, UNTRAINED


def run_job(
    job: Job, data: CountryData, reward: LoadedModel, training: TrainingConfig, *, engine: str
) -> TrialRecord:
    """Train the model in place as the job asks, evaluate it, and return the record.

    `training` has what the job does not set, `engine` names where this runs.

    Raises:
        ValueError: Too few pairs, or a setting out of range.
        RuntimeError: A loss or a reward is not finite.
    """

    def fit(pairs: TrainingSet, config: TrainingConfig) -> TrainingResult:
        return fit_on_device(reward, pairs, config, out=job.save_to)

    def score() -> FloatArray:
        return score_pairs(reward, data, data.pairs_in(job.part), precision=training.precision)

    return train_and_evaluate(job, data, training, fit, score, engine=engine)


def train_and_evaluate(
    job: Job,
    data: CountryData,
    training: TrainingConfig,
    fit: Callable[[TrainingSet, TrainingConfig], TrainingResult],
    score: Callable[[], FloatArray],
    *,
    engine: str,
) -> TrialRecord:
    """Select the job's pairs, train and score through the given functions, return the record.

    Args:
        job: What is asked.
        data: The country's arrays.
        training: What the job does not set.
        fit: Trains on these pairs, and exports where the job asks for it.
        score: Returns the trained model's margins on the pairs of `job.part`, as one array.
        engine: Where this runs, for the record.

    Raises:
        ValueError: Too few pairs, or a setting out of range.
    """
    started, clock = utc_now(), time.perf_counter()
    labelled, selection = select_pairs(job, data)
    pairs = training_set(data, labelled, selection)
    before = job.tested_before if job.part == "test" else None
    pairs = replace(pairs, facts={**pairs.facts, "arm": job.arm, "tested_before": before})
    result = fit(pairs, job_training(job, training))
    trained = time.perf_counter()
    evaluation = evaluate_margins(score(), data, job.part)
    times: dict[str, float | str] = {
        "started": started,
        "train_s": result.train_s,
        "setup_s": trained - clock - result.train_s,
        "evaluate_s": time.perf_counter() - trained,
        "wall_s": time.perf_counter() - clock,
    }
    num_kept = int(selection.keep.sum())
    checked = EvaluationRecord.model_validate(evaluation)
    objectives = {}
    if job.part == "validation" and checked.overall.accuracy is not None:
        objectives["validation_accuracy"] = checked.overall.accuracy
        objectives["pairs_trained"] = float(num_kept)
    return _record(job, state="complete", times=times, engine=engine).model_copy(
        update={
            "objectives": objectives,
            "constraints": {CONSENSUS_DROP: shown_excess(checked, job.max_consensus_drop)},
            "evaluation": checked,
            "setting": {
                **selection.numbers,
                "margin_scale": margin_scale(data.reference_margin[labelled]),
            },
            "counts": {
                "pairs_available": len(data.pairs_in("train")),
                "pairs_labelled": len(labelled),
                "pairs_trained": num_kept,
                "effective_pairs": effective_pairs(selection.weights),
                "steps": len(result.losses),
                "pairs_seen": result.pairs_seen,
                **_padding(result),
            },
            "model_path": job.save_to,
            "model_hash": None if job.save_to is None else content_hash(job.save_to),
        }
    )


def pruned_record(record: TrialRecord, job: Job) -> TrialRecord:
    """Return the record of a trial that ended at a rung, given that rung's record.

    It has no objectives and no evaluation, so that it is never mixed with trials of all pairs.
    """
    return record.model_copy(
        update={
            "trial_id": job.trial_id,
            "purpose": job.purpose,
            "state": "pruned",
            "config": job.config,
            "config_hash": job.config_hash,
            "objectives": {},
            "constraints": {},
            "evaluation": None,
        }
    )


def same_training_record(record: TrialRecord, job: Job) -> TrialRecord:
    """Return the record of a job whose training and users are those of another record.

    It holds no times and no model, so that nothing counts twice.
    """
    return record.model_copy(
        update={
            "trial_id": job.trial_id,
            "arm": job.arm,
            "config": job.config,
            "config_hash": job.config_hash,
            "times": {name: t for name, t in record.times.items() if name == "started"},
            "model_path": None,
            "model_hash": None,
            "tested_before": job.tested_before,
            "trained_as": record.trial_id,
        }
    )


def failed_record(job: Job, error: str, *, lane_lost: bool = False) -> TrialRecord:
    """Return the record of a training that failed, by itself or with its lane.

    A secret in the error, such as a password in an address, is masked.
    """
    return _record(job, state="failed", times={"started": utc_now()}, engine="").model_copy(
        update={"error": mask_secrets(error), "lane_lost": lane_lost}
    )


def untrained_record(job: Job, data: CountryData) -> TrialRecord:
    """Return the record of an arm whose margins need no model of the country.

    That is `length`, `global`, or `scpo_tuned` where the global model is kept.
    """
    margin = data.length_margin if job.arm == LENGTH else data.reference_margin
    evaluation = evaluate_margins(margin[data.pairs_in(job.part)], data, job.part)
    return _record(job, state="complete", times={"started": utc_now()}, engine="none").model_copy(
        update={
            "evaluation": EvaluationRecord.model_validate(evaluation),
            "counts": {"pairs_available": len(data.pairs_in("train")), "pairs_trained": 0.0},
        }
    )


def margin_record(
    data: CountryData,
    margin: FloatArray,
    *,
    trial_id: str,
    arm: str,
    config: dict[str, float | int | str | None],
    seed: int,
    counts: dict[str, float],
    part: Part = "validation",
) -> TrialRecord:
    """Return the record of an arm that is judged by its margins of the pairs of one part.

    On test pairs it is a head's that is tested beside models, else a point of a curve. It names
    neither versions nor the commit: many records of one call share them.
    """
    evaluation = evaluate_margins(margin, data, part)
    return TrialRecord(
        trial_id=trial_id,
        purpose="head" if part == "test" else "curve",
        country=data.country,
        arm=arm,
        state="complete",
        config=config,
        config_hash="",
        seed=seed,
        evaluation=EvaluationRecord.model_validate(evaluation),
        counts=counts,
        times={"started": utc_now()},
        engine="none" if arm in UNTRAINED else "heads",
    )


def _padding(result: TrainingResult) -> dict[str, float]:
    """Return real over padded tokens; a checkpoint of the last step left no step to do."""
    padded = result.padded_tokens
    return {"padding_efficiency": result.real_tokens / padded} if padded else {}


def _record(job: Job, *, state: State, times: dict[str, float | str], engine: str) -> TrialRecord:
    return TrialRecord(
        trial_id=job.trial_id,
        purpose=job.purpose,
        country=job.country,
        arm=job.arm,
        state=state,
        config=job.config,
        config_hash=job.config_hash,
        seed=job.seed,
        times=times,
        engine=engine,
        versions=installed_versions(),
        commit=source_commit(),
        tested_before=job.tested_before,
    )
