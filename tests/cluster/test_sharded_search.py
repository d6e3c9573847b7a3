"""A search in lanes of several devices finds what one of single devices finds, whatever dies."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster as RayCluster

from scpo.config import parse_config
from sweeps.config import SweepConfig
from sweeps.ledger.records import Ledger, TrialRecord, read_records
from sweeps.run.workspace import Workspace
from sweeps.stages.search import search_countries
from tests.cluster.test_many_nodes import (
    COUNTRIES,
    NODE,
    lone,
    nodes,
    running_head,
    workspace,
)
from tests.forked import Forked

__all__ = ["lone", "nodes", "workspace"]  # fixtures

SMALL = {"num_trials": 2, "epochs": [1.0, 2.0]}
WHOLE = {"num_trials": 6, "epochs": [2.0, 3.0], "rungs": [12, 24], "reduction": 2, "folds": 2}


def make_config(search: dict[str, Any], **lanes: Any) -> SweepConfig:
    raw = {
        "name": "sharded",
        "countries": list(COUNTRIES),
        "global_model": {"name": "written-by-hand"},
        "training": {"epochs": 1.0, "learning_rate": 1e-3, "checkpoint_every": 5},
        "search": {"sampler": "random", "learning_rate": [1e-4, 1e-2], **search},
        "lanes": lanes,
    }
    return parse_config(SweepConfig, raw, "test")


def search_run(
    config: SweepConfig, workspace: Workspace, run: Path, say: Callable[[str], None] = print
) -> None:
    search_countries(config, workspace, Ledger(run), run, say)


def check_same(one: Path, other: Path, *, is_disturbed: bool = False) -> list[TrialRecord]:
    """Compare all records of trials and rungs of two runs; none may be there twice.

    A rung decides by what other trials reached it before. Where one was disturbed, and came late,
    another may go on further or less far; what both trained is equal all the same.
    """
    first, second = (
        {record.trial_id: record for record in read_records(run)} for run in (one, other)
    )
    lines = (other / "trials.jsonl").read_text().splitlines()
    assert len(lines) == len(second)
    if is_disturbed:
        assert {name for name in first if "@" not in name} <= second.keys()
        both = {name for name in first.keys() & second if first[name].state == second[name].state}
        assert len(both) > len(first) / 2
        first, second = ({name: run[name] for name in both} for run in (first, second))
    assert first.keys() == second.keys()
    for trial_id, record in second.items():
        alone = first[trial_id]
        assert (record.state, record.error) == (alone.state, None)
        assert (record.config, record.seed, record.rung) == (
            (alone.config, alone.seed, alone.rung)
        )
        assert record.objectives == pytest.approx(alone.objectives, abs=1e-4)
        assert record.constraints == pytest.approx(alone.constraints, abs=1e-4)
    return list(second.values())


def search_on_one_and_two(workspace: Workspace, folder: Path) -> None:
    with running_head() as cluster:
        cluster.add_node(num_cpus=1, **NODE)
        cluster.wait_for_nodes()
        search_run(make_config(SMALL), workspace, folder / "one")
        config = make_config(SMALL, workers=2, zero_stage=2)
        search_run(config, workspace, folder / "two")


@pytest.mark.exhaustive
def test_a_search_over_two_nodes_in_one_lane_finds_the_same(
    lone: None, workspace: Workspace, tmp_path: Path
) -> None:
    """The small form of the next: the lane's two workers lie on two nodes."""
    said = tmp_path / "said"
    driver = Forked(search_on_one_and_two, workspace, tmp_path, err=said)
    assert driver.wait(timeout=900) == 0, said.read_text()[-3000:]
    records = check_same(tmp_path / "one", tmp_path / "two")
    assert {(r.engine, r.devices) for r in records} == {("deepspeed-zero2-x2", 2)}
    assert not (tmp_path / "two" / ".tune").exists()
    left = [path for path in (tmp_path / "two" / ".sharded").rglob("*") if path.is_file()]
    assert left == []


@pytest.fixture(scope="module")
def alone(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    """The run of the whole search in lanes of one device."""
    folder = tmp_path_factory.mktemp("alone")
    driver = Forked(search_alone, workspace, folder, err=folder / "said")
    assert driver.wait(timeout=600) == 0, (folder / "said").read_text()[-3000:]
    return folder / "run"


def search_alone(workspace: Workspace, folder: Path) -> None:
    with running_head() as cluster:
        cluster.add_node(num_cpus=1, **NODE)
        cluster.wait_for_nodes()
        search_run(make_config(WHOLE), workspace, folder / "run")


@pytest.mark.exhaustive
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_search_in_two_sharded_lanes_finds_what_single_devices_find(
    lone: None, workspace: Workspace, alone: Path, tmp_path: Path, stage: int
) -> None:
    driver = Forked(search_sharded, workspace, tmp_path / "run", stage, [4], err=tmp_path / "said")
    assert driver.wait(timeout=900) == 0, (tmp_path / "said").read_text()[-3000:]
    check_same(alone, tmp_path / "run")


def search_sharded(
    workspace: Workspace, run: Path, stage: int, cpus: list[int], kill: str = ""
) -> None:
    """Search in two lanes of two workers on nodes of so many CPUs; kill something in mid-trial."""
    with running_head() as cluster:
        training = workspace.training.model_copy(update={"checkpoint_every": 5})
        others = [cluster.add_node(num_cpus=number, **NODE) for number in cpus]
        cluster.wait_for_nodes()
        config = make_config(WHOLE, workers=2, zero_stage=stage, num_lanes=2)
        killer = threading.Thread(target=kill_in_mid_trial, args=(kill, run, cluster, others))
        said: list[str] = []

        def say(line: str) -> None:
            said.append(line)
            if kill and line.lstrip().startswith("[2/") and not killer.is_alive():
                killer.start()

        search_run(config, replace(workspace, training=training), run, say)
        assert any("in 2 lanes of 2 workers" in line for line in said)
        if kill:
            killer.join()


def kill_in_mid_trial(kind: str, run: Path, cluster: RayCluster, others: list[Any]) -> None:
    """End a rank, a lane's actor with its whole group, or a node, once a checkpoint is there."""
    while not list((run / ".sharded" / "checkpoints").glob("*/*/step-*")):
        threading.Event().wait(0.01)
    if kind == "node":
        cluster.remove_node(others[0], allow_graceful=False)
        print("killed a node", file=sys.stderr)
        return
    name = {"rank": "RayTrainWorker", "group": "Trainable.train"}[kind]  # as Ray calls them
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it ended meanwhile
            if name in " ".join(child.cmdline()):
                found.append(child)
    os.kill(found[-1].pid, signal.SIGKILL)
    print(f"killed a {kind}", file=sys.stderr)


@pytest.mark.exhaustive
def test_a_search_in_lanes_that_span_two_nodes_finds_the_same(
    lone: None, workspace: Workspace, alone: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    driver = Forked(search_sharded, workspace, run, 3, [1, 1, 1, 1], err=tmp_path / "said")
    assert driver.wait(timeout=900) == 0, (tmp_path / "said").read_text()[-3000:]
    check_same(alone, run)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("kill", "cpus"), [("rank", [2, 2]), ("group", [2, 2]), ("node", [2, 2, 2])]
)
def test_what_dies_in_mid_trial_loses_nothing(
    lone: None, workspace: Workspace, alone: Path, tmp_path: Path, kill: str, cpus: list[int]
) -> None:
    run = tmp_path / "run"
    said = tmp_path / "said"
    driver = Forked(search_sharded, workspace, run, 2, cpus, kill, err=said)
    assert driver.wait(timeout=900) == 0, said.read_text()[-3000:]
    assert f"killed a {kill}\n" in said.read_text()
    check_same(alone, run, is_disturbed=True)
