"""Stages of a sweep go on in the worker groups of the stages before."""

from pathlib import Path

import pytest

from scpo.config import parse_config
from sweeps.config import SweepConfig
from sweeps.lanes.group_pool import SharedGroups
from sweeps.ledger.records import Ledger
from sweeps.run.workspace import Workspace
from sweeps.stages.final_and_curves import train_finals_and_curves
from sweeps.stages.search import search_countries


@pytest.mark.slow
def test_a_sharded_search_and_its_sharded_final_share_one_group(
    cluster: None, workspace: Workspace, tmp_path: Path
) -> None:
    raw = {
        "name": "shared",
        "countries": ["Arvandia"],
        "global_model": {"name": "written-by-hand"},
        "training": {"learning_rate": 1e-3},
        "search": {"num_trials": 1, "learning_rate": [1e-4, 1e-2], "epochs": [0.5, 1.0]},
        "curves": {"arms": []},
        "final": {"arms": ["full"]},
        "lanes": {"workers": 2, "cpus": 0.9},
    }
    config, ledger = parse_config(SweepConfig, raw, "test"), Ledger(tmp_path)
    started: list[set[str]] = []
    with SharedGroups(workspace, tmp_path) as groups:
        for stage in (search_countries, train_finals_and_curves):
            stage(config, workspace, ledger, tmp_path, print, groups=groups)
            started.append({path.name for path in (tmp_path / ".sharded").glob("lane-*")})
    assert len(started[0]) == 1
    assert started[0] == started[1]
    assert list((tmp_path / ".sharded").glob("lane-*")) == []  # closed at the end
    trained = {(r.purpose, r.arm): r for r in ledger.read() if r.engine != "none"}
    assert {("search", "scpo_tuned"), ("final", "full")} <= trained.keys()
    assert {(r.state, r.engine) for r in trained.values()} == {("complete", "deepspeed-zero2-x2")}
