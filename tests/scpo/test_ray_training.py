import os

import numpy as np
import pytest
import ray
import ray.train
from ray.train.torch import TorchTrainer

from scpo.config import TrainingConfig
from scpo.fitting import fit_on_device
from scpo.model import load_reward_model
from scpo.ray_training import start_ray, train_on_ray
from scpo.scoring import score_texts

CONFIG = TrainingConfig(learning_rate=1e-3, epochs=1.0, precision="fp32", centring=0.05, seed=3)


@pytest.fixture(scope="module")
def cluster():
    """Two CPUs of this machine; never a cluster that happens to be near."""
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
    )
    yield
    ray.shutdown()


@pytest.mark.slow
def test_two_workers_train_what_one_device_trains(cluster, model_folder, training_set, tmp_path):
    data = training_set(num_interactions=16)
    out = tmp_path / "trained"
    result = train_on_ray(
        model_folder("bert"), data, CONFIG, workers=2, zero_stage=2, out=out
    )
    expected = load_reward_model(str(model_folder("bert")))
    alone = fit_on_device(expected, data, CONFIG)

    assert result.losses == pytest.approx(alone.losses, rel=1e-4)
    assert result.pairs_seen == alone.pairs_seen == len(data.chosen)
    assert 0 < result.real_tokens < alone.real_tokens  # the other rank has the rest
    which = np.arange(len(data.texts))
    np.testing.assert_allclose(
        score_texts(load_reward_model(str(out)), data.texts, which, precision="fp32"),
        score_texts(expected, data.texts, which, precision="fp32"),
        atol=1e-4,
    )


@pytest.mark.slow
def test_more_workers_than_the_cluster_holds_are_refused(cluster, training_set, tmp_path):
    named = {"zero_stage": 2, "out": tmp_path / "out"}
    with pytest.raises(RuntimeError, match=r"3 workers need 2\.7 CPUs, but the cluster has 2\."):
        train_on_ray(tmp_path, training_set(), CONFIG, workers=3, **named)
    with pytest.raises(RuntimeError, match=r"1 workers need 1 GPUs, but the cluster has 0\."):
        train_on_ray(tmp_path, training_set(), CONFIG, workers=1, use_gpu=True, **named)
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_fails_names_its_error(monkeypatch, training_set, tmp_path):
    def fail(trainer):
        raise ray.train.WorkerGroupError("rank 1: out of memory", {1: MemoryError()})

    monkeypatch.setattr(TorchTrainer, "fit", fail)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    with pytest.raises(RuntimeError, match=r"(?s)Training on 2 workers failed.*out of memory"):
        train_on_ray(
            tmp_path, training_set(), CONFIG, workers=2, zero_stage=0, out=tmp_path / "out"
        )


@pytest.mark.parametrize(("workers", "stage"), [(0, 2), (-1, 0), (2, 4), (2, -1)])
def test_workers_and_stages_out_of_range_are_refused(training_set, tmp_path, workers, stage):
    with pytest.raises(ValueError, match=rf"`workers >= 1` and zero_stage.*{workers} and {stage}"):
        train_on_ray(
            tmp_path,
            training_set(),
            CONFIG,
            workers=workers,
            zero_stage=stage,
            out=tmp_path / "out",
        )


def test_start_ray_joins_what_is_named_and_starts_one_otherwise(monkeypatch):
    seen = []
    monkeypatch.setattr(ray, "is_initialized", lambda: bool(seen))
    monkeypatch.setattr(ray, "init", lambda **named: seen.append(named["address"]))
    monkeypatch.setattr(os, "environ", {})
    start_ray()
    start_ray()  # already there
    assert seen == ["local"]
    seen.clear()
    monkeypatch.setattr(os, "environ", {"RAY_ADDRESS": "head:6379"})
    start_ray()
    assert seen == ["head:6379"]
