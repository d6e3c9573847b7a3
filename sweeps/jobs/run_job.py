"""Running a job: select its pairs, train, judge, and make its record."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from scpo.arrays import FloatArray
from scpo.config import TrainingConfig
from scpo.countries.country_data import CountryData
from scpo.countries.scoring import score_pairs
from scpo.evaluation.held_out import evaluate_margins
from scpo.files.provenance import utc_now
from scpo.method.strength import margin_scale
from scpo.method.weighting import effective_pairs
from scpo.models.reward_model import LoadedModel, content_hash
from scpo.tokens.batches import TrainingSet
from scpo.training.fit import fit_on_device
from scpo.training.loop import TrainingResult
from scpo.training.warm_start import ProvenStarts
from sweeps.jobs.job import Job
from sweeps.jobs.job_inputs import job_training, select_pairs, training_set
from sweeps.jobs.job_records import new_record
from sweeps.ledger.consensus_drop import CONSENSUS_DROP, shown_excess
from sweeps.ledger.records import EvaluationRecord, TrialRecord


def run_job(
    job: Job,
    data: CountryData,
    reward: LoadedModel,
    training: TrainingConfig,
    *,
    engine: str,
    starts: ProvenStarts | None = None,
) -> TrialRecord:
    """Train the model in place as the job asks, evaluate it, and return the record.

    `training` has what the job does not set, `engine` names where this runs, and `starts` has the
    proofs of earlier trainings from the same weights.

    Raises:
        ValueError: Too few pairs, or a setting out of range.
        RuntimeError: A loss or a reward is not finite.
    """
    prove = None
    if starts is not None:
        prove = partial(starts.prove, texts=data.texts, reference=data.reference)

    def fit(pairs: TrainingSet, config: TrainingConfig) -> TrainingResult:
        return fit_on_device(reward, pairs, config, out=job.save_to, prove=prove)

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
    return new_record(job, state="complete", times=times, engine=engine).model_copy(
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


def _padding(result: TrainingResult) -> dict[str, float]:
    """Return real over padded tokens; a checkpoint of the last step left no step to do."""
    padded = result.padded_tokens
    return {"padding_efficiency": result.real_tokens / padded} if padded else {}
