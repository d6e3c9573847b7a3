"""Sharded lanes: jobs one after another on two workers, equal to the bit, and through deaths."""

import json
import os
import re
import shutil
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import ray
import ray.train
import torch
from ray.train.torch import TorchTrainer

from scpo.countries.scoring import score_pairs
from scpo.distributed.sharded_scoring import share_forwards
from scpo.distributed.worker_group import WorkerGroup
from scpo.evaluation.held_out import evaluate_margins
from scpo.files.atomic import hash_file
from scpo.models.loading import load_reward_model
from scpo.training.checkpoints import TrainingStopped
from scpo.training.engines import TorchEngine
from scpo.training.fit import Fitted, plan_optimization
from scpo.training.forward_passes import model_inputs
from scpo.training.loop import TrainingResult
from sweeps.jobs.job import Job
from sweeps.lanes import standing_group
from sweeps.lanes.job_queue import checkpoints_of
from sweeps.lanes.lane import JobFailed, LaneLost, LaneNotStarted
from sweeps.lanes.sharded_worker import JobWorker, score_part
from sweeps.lanes.standing_group import StandingGroup
from sweeps.ledger.records import TrialRecord
from sweeps.run.workspace import Workspace
from tests.forked import Forked
from tests.sweeps.lanes.engines_in_turn import main

CPU = torch.device("cpu")

COUNTRY = "Arvandia"


def make_job(trial_id: str, **changes: Any) -> Job:
    job = Job(trial_id, "search", COUNTRY, "scpo_tuned", 1e-3, 1.0, seed=0)
    return replace(job, **{"retention": 0.6, "strength": 1.0, **changes})


def own_workers() -> list[psutil.Process]:
    """Ray Train's workers that this process's Ray started."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it ended meanwhile
            if "RayTrainWorker" in " ".join(child.cmdline()):
                found.append(child)
    return found


def kill_a_worker_after_the_first_checkpoint(folder: Path, killed: list[int]) -> None:
    """Wait for a whole checkpoint, then end one worker by SIGKILL."""
    for _ in range(6000):
        if list(folder.glob("*/step-*")) and (workers := own_workers()):
            os.kill(workers[-1].pid, signal.SIGKILL)
            killed.append(workers[-1].pid)
            return
        threading.Event().wait(0.01)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_later_trial_of_a_lane_equals_the_first_of_another_and_one_killed(
    cluster: None, workspace: Workspace, tmp_path: Path
) -> None:
    """To the bit; a trial that cannot be done and a worker's death cost the others nothing."""
    run = tmp_path / "run"
    job = make_job("first", epochs=3.0, save_to=str(tmp_path / "first"))
    with StandingGroup(workspace, WorkerGroup(2), run) as group:
        records = [group.train(job)]
    bad = make_job("bad", min_pairs=999)
    later = replace(job, trial_id="later", save_to=str(tmp_path / "later"))
    again = replace(job, trial_id="again", save_to=str(tmp_path / "again"))
    killed: list[int] = []
    killer = threading.Thread(
        target=kill_a_worker_after_the_first_checkpoint,
        args=(checkpoints_of(again, 0, run / ".sharded"), killed),
    )
    with StandingGroup(workspace, WorkerGroup(2), run) as group:
        with pytest.raises(JobFailed, match=r"^ValueError: Arvandia: at least 999 pairs must be"):
            group.train(bad)
        records.append(group.train(make_job("other", arm="full", seed=7)))
        records.append(group.train(later))
        killer.start()
        records.append(group.train(again))
    killer.join()
    assert len(killed) == 1

    first, other, *same = records
    assert [record.trial_id for record in records] == ["first", "other", "later", "again"]
    assert (first.engine, first.devices) == ("deepspeed-zero2-x2", 2)
    assert {record.state for record in (first, other, *same)} == {"complete"}
    for record in same:
        assert record.evaluation == first.evaluation
        assert record.objectives == first.objectives
        assert record.counts | {"padding_efficiency": 0.0} == (
            first.counts | {"padding_efficiency": 0.0}  # of what ran since a restart
        )
        assert hash_file(Path(str(record.model_path)) / "model.safetensors") == hash_file(
            tmp_path / "first" / "model.safetensors"
        )
    assert other.evaluation != first.evaluation
    trained = load_reward_model(str(tmp_path / "first"))
    data = workspace.countries[COUNTRY]
    margin = score_pairs(trained, data, data.pairs_in("validation"), precision="fp32")
    alone = evaluate_margins(margin, data, "validation")
    assert first.evaluation is not None
    assert first.evaluation.model_dump() == alone
    left = [path for path in (run / ".sharded").rglob("*") if path.name != "checkpoints"]
    assert left == []


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_job_that_kills_workers_twice_has_failed_and_the_lane_goes_on(
    cluster: None, workspace: Workspace, tmp_path: Path
) -> None:
    """Without a checkpoint the job starts afresh, so that it can be met in flight again."""
    killed: list[int] = []
    job = make_job("poison", epochs=40.0)
    folder = checkpoints_of(job, 0, tmp_path / ".sharded")

    def kill_twice() -> None:
        kill_a_worker_after_the_first_checkpoint(folder, killed)
        while own_workers():  # Ray Train ends the others
            threading.Event().wait(0.05)
        shutil.rmtree(folder)
        kill_a_worker_after_the_first_checkpoint(folder, killed)

    killer = threading.Thread(target=kill_twice)
    with StandingGroup(workspace, WorkerGroup(2), tmp_path) as group:
        killer.start()
        with pytest.raises(JobFailed, match=r"^Its workers died 2 times: rank "):
            group.train(job)
        good = group.train(make_job("good"))
    killer.join()
    assert len(killed) == 2
    assert good.state == "complete"
    assert not folder.exists()


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_group_that_stays_pending_is_told_with_the_arithmetic(
    cluster: None, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "2")
    holder = ray.remote(Holder).options(num_cpus=1.5).remote()
    ray.get(holder.ready.remote())  # type: ignore[attr-defined]
    with (
        pytest.raises(
            LaneNotStarted,
            match=r"2 workers did not start\. It needs 1\.8 CPUs \(the cluster has 2, 0\.5 free\)",
        ),
        StandingGroup(workspace, WorkerGroup(2), tmp_path) as group,
    ):
        group.train(make_job("never"))
    ray.kill(holder)


class Holder:
    def ready(self) -> None:
        """Answer once there is a place."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("began", "error", "message"),
    [
        (True, ray.train.WorkerGroupError("bad", {1: MemoryError()}), "workers failed: Training"),
        (
            False,
            ray.train.ControllerError(ValueError("no place")),
            "did not start. It needs 1.8 CPUs",
        ),
        (True, "rank 0: No model folder.", "The sharded lane ended. rank 0: No model folder."),
    ],
)
def test_a_lane_that_ends_says_why(
    cluster: None,
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    began: bool,
    error: Exception | str,
    message: str,
) -> None:
    may_end = threading.Event()

    def fit(trainer: TorchTrainer) -> SimpleNamespace:
        may_end.wait()
        if isinstance(error, Exception):
            raise error
        return SimpleNamespace(return_value=error)

    monkeypatch.setattr(TorchTrainer, "fit", fit)
    monkeypatch.setattr(standing_group, "_CHECK_S", 0.05)
    group = StandingGroup(workspace, WorkerGroup(2), tmp_path)
    if began:
        ray.get(group.queue.begin.remote())
    may_end.set()
    with group, pytest.raises(LaneLost, match=re.escape(message)):
        group.train(make_job("never"))


def test_more_workers_than_the_cluster_holds_are_refused(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing_group, "start_ray", lambda: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    nodes = [{"Alive": True, "Labels": {}, "Resources": {"CPU": 2.0}}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    with pytest.raises(
        LaneNotStarted,
        match=r"need 3 x \(0\.9 CPUs\), but the cluster has 2 CPUs on 1 node: room for 2",
    ):
        StandingGroup(workspace, WorkerGroup(3), tmp_path)


def test_ranks_run_equally_many_passes_over_all_texts() -> None:
    lengths = np.array([10, 100, 50, 95, 9, 20])
    first, second = share_forwards(lengths, 2, CPU)
    # longest first: 1 3 2 5 0 4; dealt out in turn: 1 2 0 and 3 5 4, cut where shorter by 15 %
    assert [forward.texts.tolist() for forward in first] == [[1], [2], [0]]
    assert [forward.texts.tolist() for forward in second] == [[3], [5], [4]]
    one, two = share_forwards(np.array([10, 9, 4]), 2, CPU)
    assert [forward.texts.tolist() for forward in one] == [[0], [2]]
    assert [forward.texts.tolist() for forward in two] == [[1], [1]]


def test_a_rank_without_texts_takes_part() -> None:
    shares = share_forwards(np.array([7]), 3, CPU)
    assert [[forward.texts.tolist() for forward in share] for share in shares] == [[[0]]] * 3


def test_margins_through_an_engine_are_those_of_scoring(workspace: Workspace) -> None:
    reward = load_reward_model(workspace.model)
    data = workspace.countries[COUNTRY]
    which = data.pairs_in("test")
    pairs = data.training_set(which, np.ones(len(which)))
    engine = TorchEngine(reward, plan_optimization(pairs, workspace.training, CPU))
    fitted = Fitted(engine, reward, model_inputs(reward), TrainingResult())
    expected = score_pairs(reward, data, which, precision="fp32")
    np.testing.assert_allclose(score_part(fitted, data, "test"), expected, atol=1e-6)


@pytest.mark.slow
def test_engines_leave_no_weights_behind(workspace: Workspace, tmp_path: Path) -> None:
    data = workspace.countries[COUNTRY]
    which = data.pairs_in("validation")[:12]  # one step
    pairs = data.training_set(which, np.ones(len(which)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    world |= {"MASTER_PORT": str(port), "DS_ACCELERATOR": "cpu"}
    log, out = tmp_path / "log", tmp_path / "alive.json"
    given = (str(workspace.model), pairs, workspace.training, out)
    rank = Forked(main, *given, environment=os.environ | world, out=log, err=log)
    assert rank.wait(timeout=200) == 0, log.read_text()[-3000:]
    alive = json.loads(out.read_text())
    assert alive == {"zero0": [0, 0], "zero2": [0, 0], "zero3": [0, 0]}


class OneRank(TorchEngine):
    """A plain engine that counts how often it is let go of."""

    num_released = 0

    def release(self) -> None:
        OneRank.num_released += 1


@pytest.fixture
def worker(workspace: Workspace, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """What a worker of one rank makes of a job, on a plain engine that it lets go of."""
    OneRank.num_released = 0

    def run(job: Job) -> dict[str, str]:
        base = load_reward_model(workspace.model)
        before = {name: value.clone() for name, value in base.model.state_dict().items()}
        outcome = JobWorker(workspace, WorkerGroup(1), tmp_path, base, OneRank).run(job)
        for name, value in base.model.state_dict().items():
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)
        return outcome | {"released": str(OneRank.num_released)}

    return run


def test_a_job_leaves_the_base_weights_and_no_engine(
    worker: Callable[..., dict[str, str]],
) -> None:
    outcome = worker(make_job("a"))
    record = TrialRecord.model_validate_json(outcome["record"])
    assert (record.trial_id, record.state) == ("a", "complete")
    assert record.times.keys() == {"started", "train_s", "setup_s", "evaluate_s", "wall_s"}
    assert outcome["released"] == "1"


@pytest.mark.parametrize(
    ("every", "save_to", "saves"),
    [(1, None, True), (10**6, None, False), (10**6, "model", True)],
)
def test_a_short_job_without_export_saves_no_checkpoint(
    workspace: Workspace, tmp_path: Path, every: int, save_to: str | None, saves: bool
) -> None:
    base = load_reward_model(workspace.model)
    lane = JobWorker(workspace, WorkerGroup(1), tmp_path, base, OneRank)
    data = workspace.countries[COUNTRY]
    which = data.pairs_in("validation")
    pairs = data.training_set(which, np.ones(len(which)))
    job = make_job("a", save_to=save_to)
    config = workspace.training.model_copy(update={"checkpoint_every": every})
    folder = lane.checkpoints_for(job, 0, pairs, config)
    assert (folder is not None) == saves
    if folder is not None:
        assert Path(folder).parent == Path(checkpoints_of(job, 0, tmp_path))
        lane.group = WorkerGroup(2)  # shards of one size do not fit another
        assert lane.checkpoints_for(job, 0, pairs, config) != folder


def test_a_job_that_would_fail_again_has_failed_by_name(
    worker: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = worker(make_job("few", min_pairs=999))
    assert few["failed"].startswith("ValueError: Arvandia: at least 999 pairs must be kept")
    assert few["released"] == "0"

    def stop(*args: Any, **named: Any) -> float:
        raise TrainingStopped("Arvandia must start from the model.")

    monkeypatch.setattr("scpo.training.loop.prove_warm_start", stop)
    stopped = worker(make_job("stopped"))
    assert stopped["failed"] == "TrainingStopped: Arvandia must start from the model."
    assert stopped["released"] == "1"
