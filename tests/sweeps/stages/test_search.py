"""Which points of the search may start."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from optuna.distributions import IntDistribution

from scpo.config import LoraConfig, TrainingConfig, parse_config
from sweeps.config import SearchConfig, SweepConfig
from sweeps.jobs.job import Job
from sweeps.jobs.job_inputs import job_training
from sweeps.jobs.job_records import failed_record
from sweeps.search.space import describe_base, point_of, search_of, search_space, space_hash
from sweeps.stages.search import first_points, reason_to_refuse

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
    assert job_training(replace(job, lora_rank=0), training).lora is None


def test_without_adapters_no_rank_is_searched() -> None:
    assert "lora_rank" not in search_space(SearchConfig())
    assert space_hash(SearchConfig()) != space_hash(SearchConfig(lora_rank=(2, 8)))


def test_a_base_with_other_numbers_than_configured_is_told() -> None:
    given = {"name": "x", "countries": ["Chile"], "global_model": {"name": "m"}}
    search = {"learning_rate": [1e-6, 1e-5], "epochs": [0.5, 2.0]}
    inside = {**given, "search": search, "training": {"learning_rate": 5e-6, "epochs": 1.0}}
    assert describe_base(parse_config(SweepConfig, inside, "test")) == ""
    outside = {**inside, "training": {"learning_rate": 1e-3, "epochs": 1.0}}
    assert describe_base(parse_config(SweepConfig, outside, "test")) == (
        "plain fine-tuning is tried with learning_rate 1e-05 instead of 0.001: the nearest in the "
        "search's range"
    )


def test_users_are_weighed_where_they_can_be_unless_set() -> None:
    open_config = SearchConfig()
    assert "user_strength" not in search_space(open_config)  # a country decides
    can = search_of(open_config, can_weigh_users=True)
    assert (search_space(can)["user_strength"].low, can.user_strength) == (0.0, (0.0, 2.0))  # type: ignore[attr-defined]
    assert "user_strength" not in search_space(search_of(open_config, can_weigh_users=False))
    off = SearchConfig(user_strength=(0.0, 0.0))
    assert "user_strength" not in search_space(search_of(off, can_weigh_users=True))
    assert space_hash(off) == space_hash(open_config) != space_hash(can)


def test_the_arm_user_is_a_first_trial_where_users_are_weighed() -> None:
    data = country_of([float(number) for number in range(20)])
    data.user, data.differences = np.repeat(np.arange(5), 4), None
    config = sweep_config()
    plain = first_points(config, data)
    assert len(plain) == 2
    assert all("user_strength" not in point for point in plain)
    data.differences = np.zeros((20, 2))
    full, paper, users = first_points(config, data)
    assert (full["user_strength"], paper["user_strength"]) == (0.0, 0.0)
    assert users == {**full, "user_strength": 0.5}  # few users
    *_, asked = first_points(config.model_copy(update={"user_strength": 1.5}), data)
    assert asked == {**full, "user_strength": 1.5}


def test_a_point_of_before_weighs_no_users() -> None:
    can = search_of(SearchConfig(), can_weigh_users=True)
    record = failed_record(Job("t", "search", "A", "scpo_tuned", seed=0, **POINT), "x")  # type: ignore[arg-type]
    older = {name: value for name, value in record.config.items() if name != "user_strength"}
    old = record.model_copy(update={"config": older})
    assert point_of(old, can) == {**POINT, "user_strength": 0.0}
    weighed = record.model_copy(update={"config": {**older, "user_strength": 1.5}})
    assert point_of(weighed, SearchConfig())["user_strength"] == 1.5


def sweep_config() -> SweepConfig:
    return SweepConfig.model_validate(
        {"name": "x", "countries": ["Chile"], "global_model": {"name": "m"}}
    )
