"""One training as a job: nested budgets, selections, and records equal in every lane."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scpo.config import TrainingConfig
from scpo.countries.country_data import CountryData
from scpo.countries.user_agreement import country_agreement
from scpo.method.user_weights import user_weights
from scpo.models.loading import load_reward_model
from scpo.models.reward_model import LoadedModel
from sweeps.jobs.job import Job
from sweeps.jobs.job_inputs import labelled_pairs, select_pairs
from sweeps.jobs.job_records import (
    failed_record,
    pruned_record,
    same_training_record,
    untrained_record,
)
from sweeps.jobs.run_job import run_job
from sweeps.ledger.same_setting import setting_identity
from sweeps.run.workspace import Workspace

TRAINING = TrainingConfig(learning_rate=1e-3, epochs=1.0, pairs_per_step=16)


@pytest.fixture(scope="module")
def reward(workspace: Workspace) -> LoadedModel:
    return load_reward_model(workspace.model)


@pytest.fixture(scope="module")
def country(workspace: Workspace) -> CountryData:
    return workspace.countries["Arvandia"]


def make_job(**changes: object) -> Job:
    job = Job("t-0", "search", "Arvandia", "scpo_tuned", 1e-3, 1.0, seed=0)
    return replace(job, **{"retention": 0.6, "strength": 1.0, **changes})  # type: ignore[arg-type]


def test_budgets_are_nested_and_hold_whole_interactions(country: CountryData) -> None:
    train = country.pairs_in("train")
    smaller: set[int] = set()
    for budget in (0.1, 0.25, 0.5, 1.0):
        labelled = labelled_pairs(country, budget, seed=3)
        assert smaller <= set(labelled.tolist())
        smaller = set(labelled.tolist())
        inside = np.isin(country.pairs.interaction[train], country.pairs.interaction[labelled])
        assert inside.sum() == len(labelled)
        assert len(labelled) >= budget * len(train)
    assert smaller == set(train.tolist())


def test_budget_out_of_range_is_refused(country: CountryData) -> None:
    with pytest.raises(ValueError, match="`0 < budget <= 1` must hold, but got 0"):
        labelled_pairs(country, 0.0, seed=0)


def test_point_keeps_its_retention(country: CountryData) -> None:
    labelled, selection = select_pairs(make_job(retention=0.5), country)
    assert selection.keep.sum() == round(0.5 * len(labelled))
    margin = country.reference_margin[labelled]
    assert margin[selection.keep].max() <= margin[~selection.keep].min()


def test_corner_of_the_space_is_full(country: CountryData) -> None:
    _, corner = select_pairs(make_job(retention=1.0, strength=0.0), country)
    _, full = select_pairs(make_job(arm="full"), country)
    assert corner.keep.all()
    np.testing.assert_array_equal(corner.weights, full.weights)


def test_too_few_pairs_are_refused_by_name(country: CountryData) -> None:
    with pytest.raises(ValueError, match="Arvandia: at least 999 pairs must be kept"):
        select_pairs(make_job(min_pairs=999), country)


def test_point_without_numbers_is_refused(country: CountryData) -> None:
    with pytest.raises(ValueError, match="t-0: retention and strength must be set"):
        select_pairs(make_job(retention=None), country)


def test_hash_knows_the_setting_and_not_the_name() -> None:
    assert make_job().config_hash == make_job(trial_id="other", save_to="x").config_hash
    assert make_job().config_hash != make_job(strength=1.5).config_hash
    assert make_job().config_hash != make_job(seed=1).config_hash


def test_second_job_of_a_lane_equals_the_first_of_another(
    country: CountryData, reward: LoadedModel
) -> None:
    base = {name: value.clone() for name, value in reward.model.state_dict().items()}
    first = run_job(make_job(), country, reward, TRAINING, engine="torch")
    reward.model.load_state_dict(base)
    run_job(make_job(arm="full"), country, reward, TRAINING, engine="torch")
    reward.model.load_state_dict(base)
    torch.manual_seed(99)
    again = run_job(make_job(), country, reward, TRAINING, engine="torch")
    reward.model.load_state_dict(base)
    assert again.evaluation == first.evaluation
    assert again.objectives == first.objectives
    assert again.counts == first.counts


def test_plain_fine_tuning_is_one_training_under_two_names(
    country: CountryData, reward: LoadedModel, tmp_path: Path
) -> None:
    base = {name: value.clone() for name, value in reward.model.state_dict().items()}
    numbers = {"purpose": "final", "retention": None, "strength": None}
    full = make_job(arm="full", trial_id="full", tau=0.7, beta=1.0, **numbers)
    plain = {"purpose": "final", "retention": 1.0, "strength": 0.0}
    tuned = make_job(**plain, user_strength=0.0, save_to=str(tmp_path / "model"))
    assert tuned.equals_full(full)
    for other in ({"strength": 0.1}, {"retention": 0.9}, {"user_strength": 1.0}, {"epochs": 9.0}):
        assert not replace(tuned, **other).equals_full(full), other
    assert not tuned.equals_full(replace(full, arm="scpo"))
    assert not tuned.equals_full(replace(full, seed=7))

    trained = run_job(tuned, country, reward, TRAINING, engine="torch")
    reward.model.load_state_dict(base)
    again = run_job(full, country, reward, TRAINING, engine="torch")
    reward.model.load_state_dict(base)
    shared = same_training_record(trained, full)
    assert shared.trained_as == trained.trial_id
    assert shared.model_path is None
    assert set(shared.times) == {"started"}
    differ = {"times": {}, "trained_as": None}
    assert shared.model_copy(update=differ) == again.model_copy(update=differ)
    assert full.is_of(shared)


def test_a_job_must_find_the_base_weights(country: CountryData, reward: LoadedModel) -> None:
    base = {name: value.clone() for name, value in reward.model.state_dict().items()}
    run_job(make_job(learning_rate=1e-2), country, reward, TRAINING, engine="torch")
    with pytest.raises(RuntimeError, match="Arvandia must start from the model that gave"):
        run_job(make_job(), country, reward, TRAINING, engine="torch")
    reward.model.load_state_dict(base)


def test_record_says_what_a_reader_needs(country: CountryData, reward: LoadedModel) -> None:
    base = {name: value.clone() for name, value in reward.model.state_dict().items()}
    job = make_job(purpose="final", max_consensus_drop=0.3)
    record = run_job(job, country, reward, TRAINING, engine="torch")
    reward.model.load_state_dict(base)
    assert record.evaluation is not None
    assert record.evaluation.part == "test"
    assert record.objectives == {}  # the test users are not an objective
    layers = record.evaluation
    assert layers.overall.pairs == layers.distinctive.pairs + layers.consensus.pairs
    assert record.counts["pairs_trained"] < record.counts["pairs_available"]
    assert record.counts["effective_pairs"] <= record.counts["pairs_trained"]
    assert record.constraints["consensus_drop"] >= -0.3
    assert record.setting["beta"] == pytest.approx(record.setting["margin_scale"])  # strength 1
    assert {"torch", "ray", "optuna"} <= set(record.versions)


def test_untrained_record_is_wrong_on_every_distinctive_pair(country: CountryData) -> None:
    record = untrained_record(make_job(arm="global", purpose="final"), country)
    assert record.evaluation is not None
    assert record.evaluation.distinctive.accuracy == 0.0
    assert record.evaluation.overall == record.evaluation.global_overall


def test_the_time_of_a_pruned_trial_is_that_of_its_rungs(country: CountryData) -> None:
    rung = untrained_record(make_job(arm="length"), country).model_copy(
        update={"purpose": "rung", "rung": 8, "times": {"started": "2026", "wall_s": 3.0}}
    )
    pruned = pruned_record(rung, make_job())
    assert (pruned.state, pruned.purpose, pruned.rung) == ("pruned", "search", 8)
    assert pruned.times == {"started": "2026"}


def test_failed_record_keeps_the_reason() -> None:
    record = failed_record(make_job(), "RuntimeError: the loss is nan")
    assert (record.state, record.error) == ("failed", "RuntimeError: the loss is nan")
    assert record.evaluation is None


def with_features(country: CountryData) -> CountryData:
    rng = np.random.default_rng(0)
    return replace(country, differences=rng.normal(size=(len(country.user), 6)))


def test_weights_of_users_multiply_those_of_pairs(country: CountryData) -> None:
    data = with_features(country)
    labelled, plain = select_pairs(make_job(), data)
    _, both = select_pairs(make_job(user_strength=1.5), data)
    of_users = user_weights(country_agreement(data, labelled), 1.5)
    np.testing.assert_array_equal(both.keep, plain.keep)
    np.testing.assert_allclose(both.weights, plain.weights * of_users)
    assert (both.weights < plain.weights).any()
    with pytest.raises(ValueError, match="Arvandia: weights of users need features"):
        select_pairs(make_job(user_strength=1.5), country)
    with pytest.raises(ValueError, match="Arvandia: the arm `user` needs 10 users"):
        select_pairs(make_job(arm="user"), data)


def test_trainings_with_weights_of_users_are_equal(
    country: CountryData, reward: LoadedModel
) -> None:
    base = {name: value.clone() for name, value in reward.model.state_dict().items()}
    records = []
    for _ in range(2):
        data = with_features(country)
        records.append(
            run_job(make_job(user_strength=1.0), data, reward, TRAINING, engine="torch")
        )
        reward.model.load_state_dict(base)
    first, again = records
    assert (again.evaluation, again.counts) == (first.evaluation, first.counts)
    assert first.setting["user_strength"] == 1.0
    assert first.config["user_strength"] == 1.0
    assert first.counts["effective_pairs"] < first.counts["pairs_trained"]


def test_records_of_before_have_user_strength_0() -> None:
    record = failed_record(make_job(user_strength=0.0), "x")
    older = {name: value for name, value in record.config.items() if name != "user_strength"}
    older_record = record.model_copy(update={"config": older})
    for job in (make_job(user_strength=0.0), make_job()):
        assert job.is_of(record)
        assert job.is_of(older_record)
    assert not make_job(user_strength=0.5).is_of(older_record)
    assert setting_identity(record) == setting_identity(older_record)
    weighed = failed_record(make_job(user_strength=0.5), "x")
    assert setting_identity(weighed) != setting_identity(record)


def test_a_secret_of_an_error_is_masked_in_its_record() -> None:
    error = "OSError: https://me:open-sesame@proxy.example.org refused"
    assert (
        failed_record(make_job(), error).error == "OSError: https://***@proxy.example.org refused"
    )
