import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import ray.train
import torch
from ray.train.torch import TorchTrainer

from scpo.config import TrainingConfig
from scpo.countries.scoring import score_texts
from scpo.distributed.ray_start import start_ray
from scpo.distributed.ray_training import Cluster, _load_everywhere, train_on_ray
from scpo.files.atomic import hash_file
from scpo.models.loading import load_reward_model
from scpo.training.checkpoints import TrainingStopped
from scpo.training.fit import data_digest, fit_on_device

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
    result = train_on_ray(model_folder("bert"), data, CONFIG, Cluster(2), out=out)
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
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match=r"3 workers need 2\.7 CPUs, but the cluster has 2\."):
        train_on_ray(tmp_path, training_set(), CONFIG, Cluster(3), out=out)
    with pytest.raises(RuntimeError, match=r"1 workers need 1 GPUs, but the cluster has 0\."):
        train_on_ray(tmp_path, training_set(), CONFIG, Cluster(1, use_gpu=True), out=out)
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_fails_names_its_error(monkeypatch, training_set, tmp_path):
    def fail(trainer):
        raise ray.train.WorkerGroupError("rank 1: out of memory", {1: MemoryError()})

    monkeypatch.setattr(TorchTrainer, "fit", fail)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    with pytest.raises(RuntimeError, match=r"(?s)Training on 2 workers failed.*out of memory"):
        train_on_ray(tmp_path, training_set(), CONFIG, Cluster(2), out=tmp_path / "out")


@pytest.mark.parametrize(("workers", "stage"), [(0, 2), (-1, 0), (2, 4), (2, -1)])
def test_workers_and_stages_out_of_range_are_refused(workers, stage):
    with pytest.raises(ValueError, match=rf"`workers >= 1` and zero_stage.*{workers} and {stage}"):
        Cluster(workers, zero_stage=stage)


def test_what_a_stage_does_not_shard_is_not_offloaded():
    with pytest.raises(ValueError, match="To offload weights, ZeRO stage 3"):
        Cluster(2, zero_stage=2, offload="weights")


def worker_pids():
    """Processes of Ray Train's workers on this machine, by the name that Ray gives them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if command.startswith(b"ray::") and b"RayTrainWorker" in command:
            found.append(int(folder.name))
    return found


def kill_a_worker_after_its_first_checkpoint(folder, killed):
    """Wait for a whole checkpoint, then end one worker by SIGKILL."""
    for _ in range(2400):
        if list(folder.glob("step-*")) and (pids := worker_pids()):
            os.kill(max(pids), signal.SIGKILL)
            killed.append(sorted(path.name for path in folder.iterdir()))
            return
        threading.Event().wait(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage", [*(pytest.param(n, marks=pytest.mark.exhaustive) for n in (1, 2)), 3]
)
def test_a_killed_worker_costs_no_bit(cluster, model_folder, training_set, tmp_path, stage):
    data = training_set(num_interactions=40)
    config = CONFIG.model_copy(update={"epochs": 2.0, "pairs_per_step": 4, "checkpoint_every": 15})
    outs, results, killed = [], [], []
    for name in ("whole", "killed"):
        outs.append(tmp_path / name)
        folder = tmp_path / f"{name}.checkpoints"
        if name == "killed":
            killer = threading.Thread(
                target=kill_a_worker_after_its_first_checkpoint, args=(folder, killed)
            )
            killer.start()
        results.append(
            train_on_ray(
                model_folder("bert"),
                data,
                config,
                Cluster(2, zero_stage=stage),
                out=outs[-1],
                checkpoints=folder,
            )
        )
    killer.join()
    assert killed  # in the midst
    assert results[0].resumed_from == 0 < results[1].resumed_from < len(results[1].losses)
    assert results[0].losses == results[1].losses
    assert hash_file(outs[0] / "model.safetensors") == hash_file(outs[1] / "model.safetensors")


@pytest.mark.slow
@pytest.mark.exhaustive
def test_what_would_fail_again_is_not_tried_again(cluster, model_folder, training_set, tmp_path):
    data = replace(training_set(), reference=np.ones(len(training_set().texts)), country="Chile")
    with pytest.raises(TrainingStopped, match="Chile must start from the model that gave"):
        train_on_ray(model_folder("bert"), data, CONFIG, Cluster(1), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def job(model_folder, training_set):
    data = training_set()
    model = str(model_folder("bert"))
    return {"model": model, "data": data, "digest": data_digest(data), "trust_remote_code": False}


def world_of_two(monkeypatch, other):
    """The collectives of rank 0, where rank 1 says `other`."""
    said = []

    def gather(values, value):
        said.append(value)
        values[:] = [value, other]

    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    return said


def test_workers_that_all_load_go_on(job, monkeypatch):
    said = world_of_two(monkeypatch, None)
    assert _load_everywhere(job).trust_remote_code is False
    assert said == [None]


def test_one_worker_that_cannot_load_stops_all(job, monkeypatch, tmp_path):
    """The others would wait in their first collective for ever."""
    world_of_two(monkeypatch, "No model folder at /here.")
    with pytest.raises(TrainingStopped, match=r"load model and data, but rank 1: No model folder"):
        _load_everywhere(job)
    said = world_of_two(monkeypatch, None)
    with pytest.raises(TrainingStopped, match="but rank 0: No model folder at"):
        _load_everywhere(job | {"model": str(tmp_path / "none")})
    with pytest.raises(TrainingStopped, match=r"rank 0: data 0f were sent, but \w+ arrived"):
        _load_everywhere(job | {"digest": "0f"})
    assert None not in said


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
