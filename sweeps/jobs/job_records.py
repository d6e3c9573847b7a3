"""Records of jobs that were pruned, that failed, or that need no training of their own."""

from scpo.arrays import FloatArray
from scpo.countries.country_data import CountryData
from scpo.evaluation.held_out import evaluate_margins
from scpo.files.provenance import installed_versions, source_commit, utc_now
from scpo.text.secrets import mask_secrets
from sweeps.jobs.job import Job
from sweeps.ledger.records import EvaluationRecord, Part, State, TrialRecord
from sweeps.ledger.words import LENGTH, UNTRAINED


def pruned_record(record: TrialRecord, job: Job) -> TrialRecord:
    """Return the record of a trial that ended at a rung, given that rung's record.

    It has no objectives and no evaluation, so that it is never mixed with trials of all pairs, and
    no times but its start: the rung's record has them.
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
            "times": _start_of(record),
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
            "times": _start_of(record),
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
    return new_record(job, state="failed", times={"started": utc_now()}, engine="").model_copy(
        update={"error": mask_secrets(error), "lane_lost": lane_lost}
    )


def untrained_record(job: Job, data: CountryData) -> TrialRecord:
    """Return the record of an arm whose margins need no model of the country.

    That is `length`, `global`, or `scpo_tuned` where the global model is kept.
    """
    margin = data.length_margin if job.arm == LENGTH else data.reference_margin
    evaluation = evaluate_margins(margin[data.pairs_in(job.part)], data, job.part)
    return new_record(
        job, state="complete", times={"started": utc_now()}, engine="none"
    ).model_copy(
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


def new_record(
    job: Job, *, state: State, times: dict[str, float | str], engine: str
) -> TrialRecord:
    """Return the record of a job, without what it found."""
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


def _start_of(record: TrialRecord) -> dict[str, float | str]:
    return {name: time for name, time in record.times.items() if name == "started"}
