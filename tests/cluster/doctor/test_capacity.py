from dataclasses import replace

import pytest

from cluster.doctor.capacity import NodeCapacity, judge_capacity
from cluster.doctor.node_findings import GIB
from sweeps.cost.needs import ProcessNeeds

LANE = ProcessNeeds("lane", None, cpus=1.0, gpus=0.0, host={"weights": GIB}, device={})

SMALL = NodeCapacity("small", cpus=4, gpus=0, free_bytes=8 * GIB)
# 0.95 of 8 GiB: seven processes of 1 GiB, three of 2 GiB.


def test_lanes_that_have_memory_fit():
    finding = judge_capacity(LANE, [SMALL])
    assert finding.level == "ok"
    assert finding.found.startswith("4 x (1.0 GiB of memory: weights 1.0)")


def test_too_many_lanes_for_the_memory_fail_with_their_number():
    finding = judge_capacity(replace(LANE, host={"weights": 2 * GIB}), [SMALL])
    assert finding.level == "failure"
    assert "small has 8.0 GiB free, enough for 3 of 4" in finding.found
    assert "lanes.num_lanes to 3 at most" in finding.advice


def test_as_many_lanes_as_there_is_room_for_fit():
    finding = judge_capacity(replace(LANE, number=3, host={"weights": 2 * GIB}), [SMALL])
    assert finding.level == "ok"


def test_not_one_lane_has_memory():
    finding = judge_capacity(replace(LANE, host={"weights": 9 * GIB}), [SMALL])
    assert finding.level == "failure"
    assert finding.advice.startswith("No node has memory for one lane")


@pytest.mark.parametrize("changes", [{"cpus": 5.0}, {"gpus": 1.0}, {"number": 5}])
def test_more_than_ray_could_place_fails(changes):
    finding = judge_capacity(replace(LANE, **changes), [SMALL])
    assert finding.level == "failure"
    assert "but the nodes have 4 CPUs and 0 GPUs" in finding.found


@pytest.mark.parametrize(("gpus", "places"), [(0.25, 8), (0.4, 4), (0.6, 2), (1.0, 2), (2.0, 1)])
def test_a_fraction_of_a_gpu_lies_on_one_gpu(gpus, places):
    node = NodeCapacity("node", cpus=64, gpus=2, free_bytes=64 * GIB)
    assert node.num_placed(replace(LANE, gpus=gpus)) == places


def test_places_of_several_nodes_add_up():
    worker = replace(LANE, name="worker of ZeRO stage 3", number=6)
    assert judge_capacity(worker, [SMALL]).level == "failure"
    assert judge_capacity(worker, [SMALL, SMALL]).level == "ok"


def test_a_node_short_of_memory_is_named_among_others():
    short = NodeCapacity("short", cpus=4, gpus=0, free_bytes=2 * GIB)
    finding = judge_capacity(LANE, [SMALL, short])
    assert finding.level == "failure"
    assert "short has 2.0 GiB free" in finding.found
    assert "small" not in finding.found
    assert "to 5 at most" in finding.advice


@pytest.mark.parametrize(
    ("gpus", "device", "fits"),
    [(1.0, 70, True), (1.0, 79, False), (0.5, 35, True), (0.5, 39, False), (0.25, 39, False)],
)
def test_shares_of_a_gpu_share_its_memory(gpus, device, fits):
    there = NodeCapacity("gpu", cpus=64, gpus=2, free_bytes=500 * GIB, gpu_bytes=80 * GIB)
    finding = judge_capacity(replace(LANE, gpus=gpus, device={"weights": device * GIB}), [there])
    assert (finding.level == "ok") is fits


def test_the_smallest_lane_that_holds_the_model_is_proposed():
    half, quarter = (
        replace(LANE, name=f"workers: {n}, zero_stage: 3", number=n, host={"weights": size * GIB})
        for n, size in ((2, 8), (4, 3))
    )
    large = replace(LANE, host={"weights": 9 * GIB}, wider=(half, quarter))
    assert "{workers: 4, zero_stage: 3}" in judge_capacity(large, [SMALL, SMALL]).advice
    assert "No node has memory" in judge_capacity(large, [SMALL]).advice


def test_sharded_workers_without_room_are_told_to_shard_more():
    worker = replace(LANE, name="worker of ZeRO stage 1", number=2, host={"weights": 9 * GIB})
    finding = judge_capacity(worker, [SMALL])
    assert finding.level == "failure"
    assert finding.advice.startswith("Use ZeRO stage 3")
