import shutil
from collections import namedtuple
from dataclasses import replace

import pytest

from scpo.config import parse_config
from scpo.models.model_cost import ModelCost
from sweeps.config import SweepConfig
from sweeps.cost import needs
from sweeps.cost.files_read import files_read
from sweeps.cost.needs import check_room, disk_needs, estimate_needs, process_needs

COST = ModelCost(weights=1000, trained=1000, pass_bytes=0, text_bytes=64, layer_bytes=0)


def sweep(**changes):
    given = {"name": "s", "countries": ["A", "B"], "global_model": {"name": "/models/m"}}
    return parse_config(SweepConfig, given | changes, "test")


def test_a_lane_keeps_its_base_and_the_texts_of_a_step():
    config = sweep(training={"pairs_per_step": 100, "accumulation": 2})
    (lane,) = process_needs(config, COST)
    assert (lane.name, lane.number, lane.cpus, lane.gpus) == ("lane", None, 1.0, 0.0)
    assert lane.host["base weights"] == 4000
    assert lane.host["activations and gradients"] == 4000 + 2 * 50 * 64
    assert lane.device == {}


def test_sharded_workers_are_asked_for_with_their_stage():
    sharded = {"workers": 4, "zero_stage": 3, "gpus": 1}
    config = sweep(final={"lanes": sharded}, lanes={"gpus": 0.5, "num_lanes": 3})
    lane, worker = process_needs(config, COST)
    assert (lane.number, lane.gpus) == (3, 0.5)
    assert (worker.name, worker.number, worker.gpus) == ("worker of ZeRO stage 3", 4, 1.0)
    assert worker.device["weights"] == 1000


def test_models_and_two_checkpoints_go_to_the_disk():
    config = sweep(final={"arms": ["full", "scpo"]})
    assert disk_needs(config, COST) == 2 * 4000  # other finals are tested, not kept
    sharded = {"workers": 2}
    trained = sweep(global_model={"backbone": "/models/m"}, final={"lanes": sharded})
    assert disk_needs(trained, COST) == 3 * 4000 + 2 * 12000


def test_a_disk_without_room_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(needs, "model_cost", lambda config: replace(COST, weights=10**7))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 0, 7 * 10**7))
    with pytest.raises(OSError, match=r"new must have 80 MB free.*its disk has 70\. Free some"):
        check_room(sweep(), tmp_path / "new")
    (tmp_path / "models").write_bytes(bytes(10**7))  # what was written before counts
    check_room(sweep(), tmp_path)


def test_a_model_that_cannot_be_measured_is_left_to_who_loads_it(tmp_path):
    check_room(sweep(global_model={"name": str(tmp_path)}), tmp_path)


@pytest.mark.parametrize("error", [ConnectionError, PermissionError])
def test_a_hub_that_does_not_give_the_model_is_left_to_who_loads_it(tmp_path, monkeypatch, error):
    def refuse(config):
        raise error("no model")

    monkeypatch.setattr(needs, "model_cost", refuse)
    check_room(sweep(), tmp_path)


def test_what_is_read_is_told_by_who_reads_it():
    vetted = {"file": "/vetted.txt"}
    config = sweep(data={"source": "pairs", "path": "/d.jsonl", "vetted": vetted})
    driver = {"data": "/d.jsonl", "vetted users": "/vetted.txt"}
    assert files_read(config) == ({"model": "/models/m"}, driver)


def test_a_model_that_is_not_here_is_not_estimated(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json"):
        estimate_needs(sweep(global_model={"name": str(tmp_path)}))
