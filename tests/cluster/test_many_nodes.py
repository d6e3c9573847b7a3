"""Sweeps and trainings on several real nodes of one machine, some of which come or die.

Every node is a raylet of its own with declared CPUs. A lane takes a whole node's CPU, so that
three lanes are on three nodes. Ray's own AutoscalingCluster would begin and end with `ray stop`,
which ends every cluster of the machine; its provider of nodes is started here without it.
"""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
from ray.cluster_utils import Cluster as RayCluster

from scpo.config import SplitConfig, SyntheticConfig, TrainingConfig, parse_config
from scpo.countries.build import steer_countries
from scpo.data.sources.synthetic import make_synthetic
from scpo.distributed.ray_scoring import score_on_ray
from scpo.distributed.ray_training import train_on_ray
from scpo.distributed.worker_group import WorkerGroup
from scpo.models.loading import load_reward_model
from scpo.models.model_source import find_model
from scpo.models.reward_model import content_hash
from scpo.tokens.batches import TrainingSet
from scpo.training.loop import TrainingResult
from sweeps.config import SweepConfig
from sweeps.jobs.job import Job
from sweeps.jobs.job_inputs import select_pairs, training_set
from sweeps.lanes import lane_count
from sweeps.ledger.records import Ledger, TrialRecord, read_records
from sweeps.run.workspace import Workspace
from sweeps.stages.search import search_countries
from tests.conftest import leave_ray
from tests.forked import Forked
from tests.saved_model import save_reward_model

COUNTRIES = ("Arvandia", "Belmora")
HEAD_ID, HEAD_TYPE = (
    "f" * 51 + "00000",
    "ray.head.default",
)  # as Ray's provider of nodes here has it
COMMANDS = (
    *("initialization", "setup", "head_setup", "worker_setup"),
    *("head_start_ray", "worker_start_ray"),
)
NODE: dict[str, Any] = {"object_store_memory": 80_000_000, "include_dashboard": False}


@contextmanager
def running_head() -> Iterator[RayCluster]:
    """A head of one CPU, and the driver on it; tests add the others."""
    cluster = RayCluster()
    try:
        cluster.add_node(num_cpus=1, **NODE)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def lone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a cluster that nobody else is on."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def nodes(lone: None) -> Iterator[RayCluster]:
    leave_ray()
    with running_head() as cluster:
        yield cluster


@pytest.fixture
def growing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A head without CPUs, as `ray up` starts it, whose autoscaler adds up to two of one CPU."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(lane_count, "START_TIMEOUT_S", 60.0)
    leave_ray()
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="gr"))  # short: sockets lie below it
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    file = folder / "cluster.json"
    file.write_text(json.dumps(autoscaling_config(address)))
    name = {"RAY_CLOUD_INSTANCE_ID": HEAD_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID}
    head = subprocess.Popen(
        [
            *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"),
            *(f"--port={address.rpartition(':')[2]}", "--num-cpus=0", f"--temp-dir={folder}/ray"),
            *("--object-store-memory=80000000", "--include-dashboard=false"),
            f"--autoscaling-config={file}",
        ],
        env=os.environ
        | {"RAY_FAKE_CLUSTER": "1", "RAY_enable_autoscaler_v2": "1", **name}
        | {"RAY_NODE_TYPE_NAME": HEAD_TYPE, "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        | {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while head.poll() is None and "READY" not in try_to_join(address):
            time.sleep(0.5)
        yield
    finally:
        ray.shutdown()
        os.killpg(head.pid, signal.SIGTERM)
        head.wait(timeout=30)
        shutil.rmtree(folder)


def try_to_join(address: str) -> str:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        return str(error)
    return "READY"


def autoscaling_config(address: str) -> dict[str, Any]:
    provider = {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": address,
        "head_node_id": HEAD_ID,
        "launch_multiple": True,
        **dict.fromkeys(
            ("use_node_id_as_ip", "disable_node_updaters", "disable_launch_config_check"), True
        ),
    }
    small = {"CPU": 1, "object_store_memory": NODE["object_store_memory"]}
    return {
        "cluster_name": "growing",
        "provider": provider,
        "head_node_type": HEAD_TYPE,
        "available_node_types": {
            HEAD_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "small": {"resources": small, "node_config": {}, "max_workers": 2},
        },
        "max_workers": 2,
        "idle_timeout_minutes": 0.1,
        # Ray's own defaults for these lie in a file that its wheel lacks.
        **{name: {} for name in ("auth", "file_mounts")},
        **{f"{name}_commands": [] for name in COMMANDS},
        "cluster_synced_files": [],
    }


def make_world() -> pa.Table:
    return make_synthetic(
        SyntheticConfig(num_countries=2, users_per_country=10, interactions_per_user=3)
    ).interactions


@pytest.fixture(scope="module")
def workspace(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("workspace")
    reward = load_reward_model(str(tiny_backbone), new_head=True)
    model = save_reward_model(reward, folder / "model")
    steered = steer_countries(
        make_world(),
        list(COUNTRIES),
        reward,
        content_hash(model),
        split=SplitConfig(),
        max_tokens=96,
        cache=folder / "cache",
        precision="fp32",
    )
    training = TrainingConfig(pairs_per_step=12, precision="fp32", learning_rate=1e-3)
    return Workspace(find_model(model), steered.countries, training)


def make_config(
    num_trials: int, epochs: float, num_lanes: int | None = None, **search: object
) -> SweepConfig:
    raw = {
        "name": "nodes",
        "countries": list(COUNTRIES),
        "global_model": {"name": "written-by-hand"},
        "training": {"epochs": epochs, "learning_rate": 1e-3},
        "search": {
            "num_trials": num_trials,
            "sampler": "random",
            "learning_rate": [1e-4, 1e-2],
            "epochs": [epochs, 2 * epochs],
            **search,
        },
        "lanes": {"cpus": 1.0, "num_lanes": num_lanes},
    }
    return parse_config(SweepConfig, raw, "test")


def search(
    config: SweepConfig, workspace: Workspace, run: Path, say: Callable[[str], None] = print
) -> dict[str, TrialRecord]:
    """Search, and return the records of trials and rungs; none may be there twice."""
    search_countries(config, workspace, Ledger(run), run, say)
    records = read_records(run)
    found = {record.trial_id: record for record in records}
    assert len(found) == len(records)
    return found


def check_equal(one: dict[str, TrialRecord], other: dict[str, TrialRecord]) -> None:
    assert one.keys() == other.keys()
    for trial_id, record in one.items():
        assert record.state == other[trial_id].state == "complete", other[trial_id].error
        assert (record.config, record.seed) == (other[trial_id].config, other[trial_id].seed)
        assert record.objectives == pytest.approx(other[trial_id].objectives, abs=1e-6)
        assert record.constraints == pytest.approx(other[trial_id].constraints, abs=1e-6)


def lane_nodes() -> set[str]:
    """Nodes on which lanes ran, those that are dead too; Tune names their class."""
    actors = ray._private.state.actors().values()
    lanes = [actor for actor in actors if actor["ActorClassName"].endswith("Trainable")]
    return {node for actor in lanes if (node := actor["Address"].get("NodeID"))}


@pytest.mark.exhaustive
def test_a_sweep_on_three_nodes_finds_what_one_node_finds(
    nodes: RayCluster, workspace: Workspace, tmp_path: Path
) -> None:
    config = make_config(6, 4.0)
    said: list[str] = []
    alone = search(config, workspace, tmp_path / "one", said.append)
    assert "in 1 lane," in said[0]
    for _ in range(2):
        nodes.add_node(num_cpus=1, **NODE)
    nodes.wait_for_nodes()
    said.clear()
    together = search(config, workspace, tmp_path / "three", said.append)
    assert "in 3 lanes" in said[0]
    assert len(lane_nodes()) == 3
    check_equal(alone, together)


@pytest.mark.exhaustive
@pytest.mark.parametrize("num_lanes", [2, 3])
def test_an_empty_cluster_grows_to_the_lanes_that_are_asked_for(
    growing: None, workspace: Workspace, tmp_path: Path, num_lanes: int
) -> None:
    """And falls empty again. Three are more than it may have: two come, one after the other."""
    config = make_config(6, 8.0, num_lanes=num_lanes)
    said: list[str] = []
    found = search(config, workspace, tmp_path / "run", said.append)
    assert f"in 0 lanes now, {num_lanes} requested from the autoscaler" in said[0]
    assert len(lane_nodes()) == 2
    assert [record.state for record in found.values()] == ["complete"] * 12
    deadline = time.monotonic() + 60
    while ray.cluster_resources().get("CPU") and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not ray.cluster_resources().get("CPU")


@pytest.mark.exhaustive
def test_an_empty_cluster_grows_to_score_and_then_to_train_in_a_group(
    growing: None, workspace: Workspace, tmp_path: Path
) -> None:
    alone = workspace.countries["Arvandia"]
    steered = steer_countries(
        make_world(),
        list(COUNTRIES),
        load_reward_model(workspace.model),
        content_hash(workspace.model),
        split=SplitConfig(),
        max_tokens=96,
        cache=tmp_path / "cache",
        precision="fp32",
        score=partial(score_on_ray, workspace.model, precision="fp32"),
    )
    assert steered.scoring.num_scored > 0
    found = steered.countries["Arvandia"].reference_margin
    assert found == pytest.approx(alone.reference_margin, abs=1e-5)
    result = train_on_ray(
        workspace.model,
        pairs_of(workspace),
        workspace.training,
        WorkerGroup(2),
        out=tmp_path / "m",
    )
    assert len(result.losses) > 0


def search_and_lose_a_node(workspace: Workspace, run: Path) -> None:
    with running_head() as nodes:
        second = nodes.add_node(num_cpus=1, **NODE)
        nodes.wait_for_nodes()
        before: list[set[str]] = []

        def end_the_second(line: str) -> None:
            if line.lstrip().startswith("[3/"):
                before.append(lane_nodes())
                nodes.remove_node(second, allow_graceful=False)

        search(make_config(4, 4.0), workspace, run, end_the_second)
        assert len(before[0]) == 2


@pytest.mark.exhaustive
def test_a_node_that_dies_in_mid_search_costs_no_trial(
    lone: None, workspace: Workspace, tmp_path: Path
) -> None:
    """The small form of the next: the lane that is left does what the dead one was at.

    In a process of its own: Ray's second cluster in one process ends the lanes of a search.
    """
    said, run = tmp_path / "said", tmp_path / "run"
    driver = Forked(search_and_lose_a_node, workspace, run, err=said)
    assert driver.wait(timeout=900) == 0, said.read_text()[-3000:]
    found = read_records(run)
    assert [record.error for record in found] == [None] * 8
    assert {record.state for record in found} == {"complete"}


@pytest.mark.exhaustive
def test_a_node_that_dies_costs_no_trial_and_no_rung(
    nodes: RayCluster, workspace: Workspace, tmp_path: Path
) -> None:
    """Another node joins later and takes the dead one's lane. `search` refuses a repeated rung."""
    config = make_config(9, 12.0, rungs=[8, 16], reduction=2)
    workers = [nodes.add_node(num_cpus=1, **NODE) for _ in range(2)]
    nodes.wait_for_nodes()
    before: list[set[str]] = []

    def replace_a_node(line: str) -> None:
        if line.lstrip().startswith("[4/"):
            nodes.remove_node(workers[0], allow_graceful=False)
        if line.lstrip().startswith("[6/"):
            before.append(lane_nodes())
            nodes.add_node(num_cpus=1, **NODE)

    found = search(config, workspace, tmp_path / "run", replace_a_node)
    assert len(before[0]) == 3
    assert len(lane_nodes() - before[0]) == 1
    trials = [record for record in found.values() if record.purpose == "search"]
    assert len(trials) == 18
    assert {r.state for r in trials} <= {"complete", "pruned"}, [r.error for r in trials]


def pairs_of(workspace: Workspace) -> TrainingSet:
    data = workspace.countries["Arvandia"]
    job = Job("a", "search", "Arvandia", "full", 1e-3, 2.0, seed=0)
    return training_set(data, *select_pairs(job, data))


@pytest.mark.exhaustive
def test_zero3_over_two_nodes_gives_the_losses_of_one(
    nodes: RayCluster, workspace: Workspace, tmp_path: Path
) -> None:
    pairs = pairs_of(workspace)
    cluster = WorkerGroup(2, zero_stage=3)

    def train(name: str) -> list[float]:
        result = train_on_ray(
            workspace.model, pairs, workspace.training, cluster, out=tmp_path / name
        )
        return list(result.losses)

    second = nodes.add_node(num_cpus=1, **NODE)
    nodes.wait_for_nodes()
    spread = train("two")  # each node has room for one worker
    nodes.remove_node(second)
    nodes.add_node(num_cpus=2, **NODE)
    packed = train("one")
    assert len(spread) == len(packed) > 4
    assert spread == pytest.approx(packed, rel=1e-4)
    assert (tmp_path / "two" / "model.safetensors").stat().st_size > 0


def wait_for_step(folder: Path, training: "Future[TrainingResult]", *, beside: int = 0) -> int:
    """Return the step of the newest checkpoint, one that is no multiple of `beside`."""
    while True:
        steps = [int(step.name.partition("-")[2]) for step in folder.glob("step-*")]
        if found := [step for step in steps if beside == 0 or step % beside]:
            return max(found)
        assert not training.done(), training.result()
        time.sleep(0.02)


@pytest.mark.exhaustive
@pytest.mark.parametrize("is_told", [False, True], ids=["dies", "is told first"])
def test_a_sharded_training_goes_on_from_its_checkpoint_when_a_node_dies(
    nodes: RayCluster,
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_told: bool,
) -> None:
    """The losses are the same to the bit; at most the steps since the last checkpoint are anew.

    A node whose end is told beforehand costs the steps since the notice.
    """
    monkeypatch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "1")
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.5")
    every = 20
    config = workspace.training.model_copy(
        update={
            "checkpoint_every": every,
            "pairs_per_step": 4,
            "epochs": 60.0 if is_told else 12.0,  # the notice takes seconds to arrive
        }
    )
    folder = tmp_path / "checkpoints"

    def train(name: str, checkpoints: Path | None) -> TrainingResult:
        return train_on_ray(
            workspace.model,
            pairs_of(workspace),
            config,
            WorkerGroup(2),
            out=tmp_path / name,
            checkpoints=checkpoints,
        )

    second = nodes.add_node(num_cpus=1, **NODE)
    nodes.wait_for_nodes()
    whole = train("whole", None)
    with ThreadPoolExecutor(1) as driver:
        training = driver.submit(train, "killed", folder)
        saved = wait_for_step(folder, training)
        if is_told:
            tell_its_end(nodes, second)
            saved = wait_for_step(folder, training, beside=every)
        nodes.remove_node(second, allow_graceful=False)
        nodes.add_node(num_cpus=1, **NODE)
        killed = training.result()
    assert saved <= killed.resumed_from <= saved + every < len(whole.losses)
    assert killed.losses == whole.losses


def tell_its_end(nodes: RayCluster, node: Any) -> None:
    """Announce a node's end in two minutes, as a cloud does for a spot instance."""
    subprocess.run(
        [
            *(str(Path(sys.executable).with_name("ray")), "drain-node"),
            *("--address", nodes.address, "--node-id", node.node_id),
            *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"),
            *("--deadline-remaining-seconds", "120"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
