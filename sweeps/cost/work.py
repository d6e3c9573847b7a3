"""The work of a sweep before it starts: trainings, tokens, device-hours and wall time.

    tokens of a training = tokens of the distinct texts of its kept pairs x epochs

Which pairs a job keeps is known from reference rewards alone; a search is a few retentions
over its range, and with rungs one trial in `reduction` continues after each. Tokens become hours
at a rate that an earlier ledger measured, or that seconds of forward passes suggest.
"""

import math
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from scpo.arrays import FloatArray, IntArray
from scpo.countries.country_data import CountryData
from scpo.countries.scoring import score_texts
from scpo.models.devices import pick_device
from scpo.models.loading import load_reward_model
from scpo.models.model_source import ModelSource
from scpo.text.counts import format_count
from sweeps.config import LanesConfig, SweepConfig
from sweeps.jobs.folds import folds_of
from sweeps.jobs.job import RECORDED, Job
from sweeps.jobs.job_inputs import rung_job, select_pairs
from sweeps.jobs.planned_jobs import arm_job, curve_jobs
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import BASELINE, TUNED_ARM, USER, slug
from sweeps.search.rung_scheduler import rungs_of

TIMING_S = 2.0
_TIMED_TEXTS = 32  # at a time
_FORWARDS_PER_STEP = 3.0  # a training token costs its forward pass and a backward pass of twice it
_NUM_RETENTIONS = 8  # that stand for a search


@dataclass(frozen=True)
class Rate:
    """How fast one device of a lane works."""

    train_tokens_per_s: float  # forward and backward
    judge_tokens_per_s: float  # forward only
    source: str  # where the rates come from, in words


@dataclass(frozen=True)
class WorkRow:
    """The trainings of one kind, and what they cost."""

    kind: str  # "search", "final", "curves" or "total"
    trainings: int
    train_tokens: float  # repeats included
    judge_tokens: float
    device_h: float  # hours of devices
    wall_h: float  # hours on the clock, with all lanes busy


def work_rows(
    config: SweepConfig, countries: Mapping[str, CountryData], rate: Rate, num_lanes: int
) -> list[WorkRow]:
    """Return the trainings and what they cost, by kind, and the total last."""
    kinds = {kind: np.zeros(3) for kind in ("search", "final", "curves")}
    for country, data in countries.items():
        final, curves = final_and_curve_jobs(config, country)
        for kind, jobs in (("final", final), ("curves", curves)):
            for job in jobs:
                kinds[kind] += (1, *job_tokens(job, data))
        trials = config.search.num_trials
        kinds["search"] += (trials, *(trials * search_tokens(config, data)))
    kinds["total"] = np.sum(list(kinds.values()), axis=0)
    rows = []
    for kind, counts in kinds.items():
        trainings, train, judge = counts.tolist()
        hours = (train / rate.train_tokens_per_s + judge / rate.judge_tokens_per_s) / 3600
        busy = config.lanes.workers * max(1.0, min(float(num_lanes), trainings))
        rows.append(WorkRow(kind, int(trainings), train, judge, hours, hours / busy))
    return rows


def final_and_curve_jobs(config: SweepConfig, country: str) -> tuple[list[Job], list[Job]]:
    """Return the trainings of one country after its search.

    The setting of the final `scpo_tuned` is unknown: the middle of the search stands for it.
    """
    final = [arm_job(config, country, arm, f"final-{arm}") for arm in config.final.arms]
    middle = search_jobs(config, country)[_NUM_RETENTIONS // 2]
    name = f"{slug(country)}-final-{TUNED_ARM}"
    tuned = replace(middle, purpose="final", folds=1, trial_id=name)
    curves = [job for job in curve_jobs(config) if job.country == country]
    return [*final, tuned] * len(config.final.seeds), curves


def search_jobs(config: SweepConfig, country: str) -> list[Job]:
    """Return jobs at retentions evenly over the search's range, with its mean epochs."""
    low, high = config.search.retention
    tuned = replace(arm_job(config, country, TUNED_ARM, "search"), purpose="search")
    return [
        replace(
            tuned,
            retention=low + (high - low) * (number + 0.5) / _NUM_RETENTIONS,
            strength=0.0,
            epochs=mean_of_logarithmic(*config.search.epochs),
            folds=config.search.num_folds,
            seed=config.training.seed,
        )
        for number in range(_NUM_RETENTIONS)
    ]


def search_tokens(config: SweepConfig, data: CountryData) -> FloatArray:
    """Return the mean tokens that a trial of a country trains on and is judged on, shape (2,)."""
    rungs = rungs_of(config.search.rungs, len(data.pairs_in("train")))
    mean = np.zeros(2)
    for job in search_jobs(config, data.country):
        share = 1.0  # of the trials, that reach a stage
        for stage in (*(rung_job(job, data, rung) for rung in rungs), job):
            mean += share * np.array(job_tokens(stage, data)) / _NUM_RETENTIONS
            share /= config.search.reduction
    return mean


def job_tokens(job: Job, data: CountryData) -> tuple[float, float]:
    """Return the tokens that a job trains on, repeats included, and those it is judged on.

    A job that keeps nothing fails at once and costs nothing.
    """
    trained, judged = 0.0, 0.0
    for fold in folds_of(data, job.folds):
        plain = {"user_strength": None, "arm": BASELINE if job.arm == USER else job.arm}
        # Weights of users change no number of pairs, so that they need not be known.
        labelled, selection = select_pairs(replace(job, min_pairs=0, **plain), fold)  # type: ignore[arg-type]
        kept = labelled[selection.keep]
        if len(kept):
            trained += job.epochs * _text_tokens(data, kept)
            judged += _text_tokens(data, fold.pairs_in(job.part))
    return trained, judged


def rate_of_records(
    records: Iterable[TrialRecord], countries: Mapping[str, CountryData]
) -> Rate | None:
    """Return the rate of a ledger's trainings of these countries, None without any.

    Tokens are counted from the countries' arrays, which must be those of the ledger's run.
    """
    tokens, seconds, num = np.zeros(2), np.zeros(2), 0
    for record in records:
        data = countries.get(record.country)
        trained, judged = record.times.get("train_s"), record.times.get("evaluate_s")
        if record.state != "complete" or data is None:
            continue
        if not (isinstance(trained, float) and isinstance(judged, float)):
            continue
        tokens += job_tokens(_job_of(record), data)
        seconds += (record.devices * trained, record.devices * judged)
        num += 1
    if num == 0 or min(seconds) <= 0.0:
        return None
    train, judge = (tokens / seconds).tolist()
    over = format_count(num, "training")
    source = f"{train:,.0f} tokens/s trained and {judge:,.0f} judged, measured over {over}"
    return Rate(train, judge, source)


def time_model(
    config: SweepConfig, model: ModelSource, countries: Mapping[str, CountryData]
) -> Rate:
    """Time forward passes of the model for two seconds, on a lane's threads or device.

    Raises:
        RuntimeError: A reward is not finite.
    """
    reward = load_reward_model(model, trust_remote_code=config.global_model.trust_remote_code).to(
        pick_device()
    )
    texts = next(iter(countries.values())).texts
    order = np.random.default_rng(0).permutation(len(texts))
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(config.lanes.cpus)))
    try:
        score_texts(reward, texts, order[:_TIMED_TEXTS], precision=config.training.precision)
        tokens, started = 0, time.perf_counter()
        while (passed := time.perf_counter() - started) < TIMING_S:
            part, order = order[:_TIMED_TEXTS], np.roll(order, -_TIMED_TEXTS)
            score_texts(reward, texts, part, precision=config.training.precision)
            tokens += int(texts.lengths[part].sum())
    finally:
        torch.set_num_threads(threads)
    forward = tokens / passed
    source = (
        f"{forward:,.0f} tokens/s forward, timed for {passed:.1f} s on {reward.model.device}; a "
        f"training step is taken as {_FORWARDS_PER_STEP:g} forward passes. Not a measured training"
    )
    return Rate(forward / _FORWARDS_PER_STEP, forward, source)


def lanes_here(config: LanesConfig) -> int:
    """Return how many lanes this machine holds, as configured at most.

    Raises:
        RuntimeError: Not one fits.
    """
    have = {"CPUs": float(os.cpu_count() or 1), "GPUs": float(torch.cuda.device_count())}
    need = {"CPUs": config.workers * config.cpus, "GPUs": config.workers * config.gpus}
    fits = min(int(have[name] / share + 1e-9) for name, share in need.items() if share > 0)
    if fits < 1:
        raise RuntimeError(
            f"A lane needs {need['CPUs']:g} CPUs and {need['GPUs']:g} GPUs, but this machine has "
            f"{have['CPUs']:g} and {have['GPUs']:g}. Say how many lanes the cluster holds."
        )
    return min(config.num_lanes or fits, fits)


def mean_of_logarithmic(low: float, high: float) -> float:
    """Return the mean of a value drawn evenly on a logarithmic scale."""
    return low if low == high else (high - low) / math.log(high / low)


def _text_tokens(data: CountryData, pairs: IntArray) -> int:
    texts = np.union1d(data.pairs.chosen[pairs], data.pairs.rejected[pairs])
    return int(data.texts.lengths[texts].sum())


def _job_of(record: TrialRecord) -> Job:
    settings = {
        name: value
        for name, value in record.config.items()
        if name in RECORDED and value is not None
    }
    return Job(
        trial_id=record.trial_id,
        purpose=record.purpose,
        country=record.country,
        arm=record.arm,
        seed=record.seed,
        **settings,  # type: ignore[arg-type]  # the fields of Job.config
    )
