import os
import re
import signal
import socket
import threading
from contextlib import suppress
from dataclasses import replace

import numpy as np
import psutil
import pytest
import ray
import ray.train
import torch
from ray.train import PreemptionInfo
from ray.train.torch import TorchTrainer

from scpo.config import TrainingConfig
from scpo.countries.scoring import score_texts
from scpo.distributed import ray_start, ray_training
from scpo.distributed.ray_start import start_ray
from scpo.distributed.ray_training import NoticeOfLoss, load_everywhere, train_on_ray
from scpo.distributed.worker_group import WorkerGroup
from scpo.files.atomic import hash_file
from scpo.files.places import shorten_ray_temp
from scpo.models.loading import load_reward_model
from scpo.models.model_source import ModelSource, find_model
from scpo.training.checkpoints import TrainingStopped
from scpo.training.fit import fit_on_device
from tests.scpo.distributed.deepspeed_ranks import run_ranks

CONFIG = TrainingConfig(learning_rate=1e-3, epochs=1.0, precision="fp32", centring=0.05, seed=3)


LONG = CONFIG.model_copy(update={"epochs": 2.0, "pairs_per_step": 4, "checkpoint_every": 10})


@pytest.fixture(params=[1, 2, 3])
def stage(request):
    return request.param


def check_as_one_device(result, out, model, data):
    """Compare with plain torch, and return what that says."""
    expected = load_reward_model(str(model))
    alone = fit_on_device(expected, data, LONG)
    assert result.losses == pytest.approx(alone.losses, rel=1e-4)
    which = np.arange(len(data.texts))
    np.testing.assert_allclose(
        score_texts(load_reward_model(str(out)), data.texts, which, precision="fp32"),
        score_texts(expected, data.texts, which, precision="fp32"),
        atol=1e-4,
    )
    return alone


@pytest.mark.slow
@pytest.mark.exhaustive
def test_two_workers_train_what_one_device_trains(
    stage, cluster, model_folder, training_set, tmp_path
):
    model, data, out = model_folder("bert"), training_set(num_interactions=24), tmp_path / "out"
    result = train_on_ray(model, data, LONG, WorkerGroup(2, zero_stage=stage), out=out)
    assert result.resumed_from == 0
    alone = check_as_one_device(result, out, model, data)
    assert result.pairs_seen == alone.pairs_seen == 2 * len(data.chosen)
    assert 0 < result.real_tokens < alone.real_tokens  # the other rank has the rest


@pytest.mark.slow
def test_more_workers_than_the_cluster_holds_are_refused(
    cluster, model_folder, training_set, tmp_path
):
    model, out = model_folder("bert"), tmp_path / "out"
    with pytest.raises(RuntimeError, match=r"3 x \(0\.9 CPUs\), but the cluster has 2 CPUs"):
        train_on_ray(model, training_set(), CONFIG, WorkerGroup(3), out=out)
    with pytest.raises(RuntimeError, match=r"1 workers need 1 GPU, but the cluster has 0 GPUs"):
        train_on_ray(model, training_set(), CONFIG, WorkerGroup(1, use_gpu=True), out=out)
    assert not out.exists()


def test_a_training_that_fails_names_its_error(model_folder, monkeypatch, training_set, tmp_path):
    def fail(trainer):
        raise ray.train.WorkerGroupError("rank 1: out of memory", {1: MemoryError()})

    monkeypatch.setattr(TorchTrainer, "fit", fail)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    with pytest.raises(RuntimeError, match=r"(?s)Training on 2 workers failed.*out of memory"):
        train_on_ray(
            model_folder("bert"), training_set(), CONFIG, WorkerGroup(2), out=tmp_path / "out"
        )


@pytest.mark.parametrize(("workers", "stage"), [(0, 2), (-1, 0), (2, 4), (2, -1)])
def test_workers_and_stages_out_of_range_are_refused(workers, stage):
    with pytest.raises(ValueError, match=rf"`workers >= 1` and zero_stage.*{workers} and {stage}"):
        WorkerGroup(workers, zero_stage=stage)


def test_what_a_stage_does_not_shard_is_not_offloaded():
    with pytest.raises(ValueError, match="To offload weights, ZeRO stage 3"):
        WorkerGroup(2, zero_stage=2, offload="weights")


def worker_pids():
    """Ray Train's workers that this process's Ray started, by the name that Ray gives them."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it ended meanwhile
            if "RayTrainWorker" in " ".join(child.cmdline()):
                found.append(child.pid)
    return found


def kill_a_worker_after_its_first_checkpoint(folder, killed):
    """Wait for a whole checkpoint, then end one worker by SIGKILL."""
    for _ in range(12000):
        if list(folder.glob("step-*")) and (pids := worker_pids()):
            os.kill(max(pids), signal.SIGKILL)
            killed.append(sorted(path.name for path in folder.iterdir()))
            return
        threading.Event().wait(0.01)


def train_and_kill(model, data, stage, folder):
    """Train on two workers, of which one is killed; return what that and one device say."""
    checkpoints, killed = folder / "checkpoints", []
    killer = threading.Thread(
        target=kill_a_worker_after_its_first_checkpoint, args=(checkpoints, killed)
    )
    killer.start()
    group, out = WorkerGroup(2, zero_stage=stage), folder / "killed"
    result = train_on_ray(model, data, LONG, group, out=out, checkpoints=checkpoints)
    killer.join()
    assert killed  # in the midst
    assert 0 < result.resumed_from < len(result.losses)
    return result, check_as_one_device(result, out, model, data)


@pytest.mark.slow
def test_a_killed_worker_costs_nothing(cluster, model_folder, training_set, tmp_path):
    train_and_kill(model_folder("bert"), training_set(num_interactions=12), 3, tmp_path)


@pytest.mark.exhaustive
def test_a_killed_worker_costs_no_bit(stage, cluster, model_folder, training_set, tmp_path):
    """Against ranks that nothing disturbs, which need no Ray; and two workers do as one device."""
    model, data = model_folder("bert"), training_set(num_interactions=24)
    whole = tmp_path / "whole"
    case = {"model": str(model), "data": data, "config": LONG, "stage": stage, "out": whole}
    (undisturbed,) = run_ranks(tmp_path / "ranks", [case], 2)
    result, alone = train_and_kill(model, data, stage, tmp_path)
    assert result.losses == undisturbed["losses"]
    files = [folder / "model.safetensors" for folder in (tmp_path / "killed", whole)]
    assert hash_file(files[0]) == hash_file(files[1])
    assert undisturbed["pairs_seen"] == alone.pairs_seen == 2 * len(data.chosen)
    assert 0 < undisturbed["real_tokens"] < alone.real_tokens  # the other rank has the rest


@pytest.mark.slow
@pytest.mark.exhaustive
def test_what_would_fail_again_is_not_tried_again(cluster, model_folder, training_set, tmp_path):
    data = replace(training_set(), reference=np.ones(len(training_set().texts)), country="Chile")
    with pytest.raises(TrainingStopped, match="Chile must start from the model that gave"):
        train_on_ray(model_folder("bert"), data, CONFIG, WorkerGroup(1), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_node_that_is_about_to_go_is_told_once(monkeypatch):
    told = iter([None, {"a": [0]}, {"a": [0]}, {"a": [0], "b": [1]}, {"a": [0], "b": [1]}])

    def info():
        nodes = next(told)
        return nodes and PreemptionInfo(deadline_ms=None, preempted_node_to_ranks=nodes)

    monkeypatch.setattr(ray.train, "get_preemption_info", info)
    notice = NoticeOfLoss()
    assert [notice() for _ in range(5)] == [False, True, False, True, False]


def world_of_two(monkeypatch, other):
    """The collectives of rank 0, where rank 1 says `other`."""
    said = []

    def gather(values, value):
        said.append(value)
        values[:] = [value, other]

    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    return said


def test_workers_that_all_load_the_model_continue(model_folder, monkeypatch):
    said = world_of_two(monkeypatch, None)
    source = find_model(model_folder("bert"))
    assert load_everywhere(source, trust_remote_code=False).trust_remote_code is False
    assert said == [None]


def test_one_worker_that_cannot_load_the_model_stops_all(model_folder, monkeypatch, tmp_path):
    """The others would wait in their first collective forever."""
    source = find_model(model_folder("bert"))
    world_of_two(monkeypatch, "No model folder at /here.")
    with pytest.raises(TrainingStopped, match=r"model and the data, but rank 1: No model folder"):
        load_everywhere(source, trust_remote_code=False)
    said = world_of_two(monkeypatch, None)
    with pytest.raises(TrainingStopped, match="but rank 0: No model folder at"):
        load_everywhere(ModelSource(str(tmp_path / "none")), trust_remote_code=False)
    assert None not in said


def test_data_that_arrived_damaged_stop_all(model_folder, training_set, monkeypatch, tmp_path):
    said = world_of_two(monkeypatch, None)
    monkeypatch.setattr(ray_training, "start_deepspeed", lambda backend: None)
    job = {
        "model": find_model(model_folder("bert")),
        "data": training_set(),
        "digest": "0f",
        "config": CONFIG,
        "group": WorkerGroup(2),
        "out": str(tmp_path / "out"),
        "checkpoints": None,
        "new_head_seed": None,
        "trust_remote_code": False,
    }
    outcome = ray_training._train_worker(job)
    assert re.search(r"rank 0: data 0f were sent, but \w+ arrived", outcome["stopped"])
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
    monkeypatch.setattr(os, "environ", {"RAY_ADDRESS": " "})
    start_ray()
    assert seen == ["local"]
    seen.clear()
    asked = []
    monkeypatch.setattr(ray_start, "check_answers", asked.append)
    monkeypatch.setattr(os, "environ", {"RAY_ADDRESS": "head:6379"})
    start_ray()
    assert seen == asked == ["head:6379"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", r"must answer at RAY_ADDRESS=127\.0\.0\.1:1, but got: .*refused"),
        ("ray://127.0.0.1:1", "must answer at RAY_ADDRESS=ray://127.0.0.1:1, but got"),
        ("127.0.0.1:x", "must be HOST:PORT, ray://HOST:PORT, auto or local, but got '127.0.0.1:x"),
        ("127.0.0.1", "must be HOST:PORT, ray://HOST:PORT, auto or local, but got '127.0.0.1'"),
        ("ray://:1", "must be HOST:PORT, ray://HOST:PORT, auto or local, but got 'ray://:1'"),
        ("a..b:1", "must answer at RAY_ADDRESS=a..b:1, but got"),
        ("127.0.0.1:99999", "must answer at RAY_ADDRESS=127.0.0.1:99999, but got"),
        ("http://127.0.0.1:8265", "is the address of a dashboard, which takes jobs: use `scpo su"),
    ],
)
def test_a_cluster_that_is_not_there_is_named(address, message):
    with pytest.raises((RuntimeError, ValueError), match=message):
        ray_start.check_answers(address)


def test_a_silent_address_is_given_up_in_time(monkeypatch):
    monkeypatch.setattr(ray_start, "_ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RuntimeError, match=f"must answer at RAY_ADDRESS={address}"):
            ray_start.check_answers(address)


def test_a_long_folder_of_temporary_files_is_replaced(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert shorten_ray_temp() is None
    monkeypatch.setenv("RAY_TMPDIR", f"/tmp/{'x' * 60}")
    short = shorten_ray_temp()
    assert short == os.environ["RAY_TMPDIR"]
    assert short.startswith("/tmp/scpo-")
    os.rmdir(short)
