"""When a lane hangs, which of its processes is named, and which are ended."""

import math

import pytest

from sweeps.lanes.hangs.rules import find_hangs, limit_s, tell_s
from sweeps.lanes.hangs.sign_book import Heard
from sweeps.lanes.hangs.signs import Process, Sign


def heard(
    lane: str, pid: int, silent_s: float, still_s: float, job: str | None = "a-0001"
) -> Heard:
    process = Process("node", "host", pid, 0.0)
    return Heard(Sign(lane, process, None, job, 7), silent_s, still_s)


def test_a_lane_is_replaced_after_what_is_set_or_was_seen() -> None:
    assert limit_s(12.0, 1000.0, num_hangs=3) == 12.0
    assert limit_s(None, 0.0) == 300.0
    assert limit_s(None, 15.0) == 300.0
    assert limit_s(None, 15.5) == 310.0
    assert [limit_s(None, 2.0, number) for number in (1, 2)] == [600.0, 1200.0]


def test_it_is_told_within_a_minute_unless_steps_take_as_long() -> None:
    assert tell_s(0.0) == 55.0
    assert tell_s(90.0) == 180.0


def test_a_lane_whose_processes_go_on_or_wait_does_not_hang() -> None:
    goes_on = heard("one", 1, 0.5, 0.5)
    waits = heard("two", 2, 0.5, 5000.0, job=None)
    assert find_hangs([goes_on, waits], 60.0) == []


def test_a_process_that_is_silent_hangs_also_where_it_only_waits() -> None:
    [hang] = find_hangs([heard("one", 1, 60.0, 61.0, job=None)], 60.0)
    assert (hang.lane, hang.job, hang.age_s) == ("one", None, 60.0)
    assert [process.pid for process in hang.processes] == [1]


def test_of_ranks_the_silent_one_is_named_and_ended() -> None:
    actor = heard("one", 1, 0.2, 900.0, job=None)
    waiting, stopped = heard("one", 2, 0.2, 64.0), heard("one", 3, 65.0, 65.5)
    [hang] = find_hangs([actor, waiting, stopped, heard("two", 4, 0.1, 0.1)], 60.0)
    assert hang.culprit is stopped
    assert hang.age_s == 65.0
    assert [process.pid for process in hang.processes] == [3]


def test_of_ranks_that_all_stand_still_the_first_to_do_so_is_named_and_all_are_ended() -> None:
    actor = heard("one", 1, 0.2, 900.0, job=None)
    first, second = heard("one", 2, 0.2, 70.0), heard("one", 3, 0.3, 66.0)
    [hang] = find_hangs([actor, second, first], 60.0)
    assert hang.culprit is first
    assert hang.age_s == 66.0
    assert sorted(process.pid for process in hang.processes) == [2, 3]


def test_ranks_that_wait_for_one_that_goes_on_do_not_hang() -> None:
    """Such as while the first writes the model."""
    assert find_hangs([heard("one", 1, 0.2, 1.0), heard("one", 2, 0.2, 400.0)], 60.0) == []


@pytest.mark.parametrize("age_s", [59.9, 0.0])
def test_before_the_time_nothing_hangs(age_s: float) -> None:
    assert find_hangs([heard("one", 1, age_s, age_s)], 60.0) == []
    assert find_hangs([heard("one", 1, age_s, age_s)], math.inf) == []
