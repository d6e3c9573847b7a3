"""Which points of the search may start."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from optuna.distributions import IntDistribution

from scpo.config import LoraConfig, TrainingConfig
from sweeps.config import SearchConfig
from sweeps.jobs.job import Job, job_training
from sweeps.search.space import search_space, space_hash
from sweeps.stages.search import reason_to_refuse

POINT = {"retention": 0.5, "strength": 0.0, "learning_rate": 1e-5, "epochs": 1.0}


def country_of(margins: list[float]) -> Any:
    margin = np.asarray(margins)
    return SimpleNamespace(reference_margin=margin, pairs_in=lambda part: np.arange(len(margin)))


def test_a_point_that_keeps_enough_may_start() -> None:
    data = country_of([float(number) for number in range(20)])
    assert reason_to_refuse(SearchConfig(), data, POINT) is None


def test_too_few_pairs_are_known_before() -> None:
    data = country_of([float(number) for number in range(14)])
    fault = reason_to_refuse(SearchConfig(), data, POINT)
    assert fault == "it keeps 7 pairs, fewer than search.min_pairs of 8"


def test_weights_that_leave_too_little_are_known_before() -> None:
    # scale 57.66, strength 10: weights fall by r = exp(-10 / 5.766) = 0.1765 a pair, and Kish's
    # number of a long geometric series is (1 + r) / (1 - r) = 1.43
    data = country_of([-10.0 * number for number in range(20)])
    fault = reason_to_refuse(SearchConfig(), data, {**POINT, "strength": 10.0})
    assert fault is not None
    assert fault.startswith("its weights leave 1.4 effective pairs, fewer than")


def test_a_point_is_a_job_of_its_numbers() -> None:
    config = SearchConfig(lora_rank=(2, 8), learning_rate=(1e-5, 1e-4))
    space = search_space(config)
    assert isinstance(space["lora_rank"], IntDistribution)
    assert space["lora_rank"].log
    job = Job("t", "search", "A", "scpo_tuned", seed=0, **POINT, lora_rank=4)  # type: ignore[arg-type]
    training = TrainingConfig(lora=LoraConfig(rank=8, alpha=32.0))
    lora = job_training(job, training).lora
    assert lora == LoraConfig(rank=4, alpha=16.0)  # as strong as rank 8 with 32
    assert job_training(replace(job, lora_rank=None), training).lora == training.lora
    assert job_training(job, TrainingConfig()).lora == LoraConfig(rank=4, alpha=8.0)


def test_without_adapters_no_rank_is_searched() -> None:
    assert "lora_rank" not in search_space(SearchConfig())
    assert space_hash(SearchConfig()) != space_hash(SearchConfig(lora_rank=(2, 8)))
