"""Groups that outlive a Tune experiment: which are taken, closed, waited for, and let go of."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import ray
from ray.exceptions import ActorDiedError, RayTaskError

from scpo.distributed.ray_training import WorkerGroup
from sweeps.config import LanesConfig
from sweeps.jobs.job import Job
from sweeps.lanes import group_pool
from sweeps.lanes.group_pool import GroupPool, Pool, RunData, SharedGroups, share_groups
from sweeps.lanes.lane import JobFailed, LaneLost, LaneNotStarted
from sweeps.ledger.records import TrialRecord

PAIR, OTHER = WorkerGroup(2), WorkerGroup(2, zero_stage=3)
DEADLINE_S = 120.0


def make_job(name: str) -> Job:
    return Job(name, "search", "Arvandia", "full", 1e-5, 1.0, seed=0)


class StubGroup:
    """A group whose job ends when it may, or raises what it is told to."""

    up: ClassVar["list[StubGroup]"]
    num_started: ClassVar[int]
    errors: ClassVar[dict[str, Exception]]
    may_end: ClassVar[dict[str, threading.Event]]
    begun: ClassVar[dict[str, threading.Event]]

    def __init__(self, workspace: Any, group: WorkerGroup, folder: str) -> None:
        if isinstance(workspace, Exception):
            raise workspace
        self.group = group
        self.is_alive = True
        self.jobs: list[str] = []
        StubGroup.num_started += 1
        self.up.append(self)

    def train(self, job: Job, fold: int) -> str:
        name = job.trial_id
        self.jobs.append(name)
        if name in self.begun:
            self.begun[name].set()
            assert self.may_end[name].wait(DEADLINE_S)
        if name in self.errors:
            raise self.errors[name]
        return f"{name}-{fold}"

    def close(self) -> None:
        self.up.remove(self)


class StubbedPool(GroupPool):
    """A pool of one run."""

    def __init__(self, data: RunData) -> None:
        super().__init__()
        self.data = data

    def do(self, group: WorkerGroup, name: str, fold: int = 0) -> TrialRecord:
        return self.train(self.data, group, make_job(name), fold)


@pytest.fixture
def make_pool(monkeypatch: pytest.MonkeyPatch) -> Callable[..., StubbedPool]:
    """A pool on a cluster that holds so many groups."""
    StubGroup.up, StubGroup.num_started = [], 0
    StubGroup.errors, StubGroup.may_end, StubGroup.begun = {}, {}, {}
    monkeypatch.setattr(group_pool, "StandingGroup", StubGroup)
    monkeypatch.setattr(group_pool, "_CHECK_S", DEADLINE_S)

    def make(
        num_groups: int = 1, workspace: Any = None, asked: Callable[[], object] = str
    ) -> "StubbedPool":
        def count_groups(workers: int, each: dict[str, float]) -> int:
            asked()
            return num_groups

        monkeypatch.setattr(group_pool, "count_groups", count_groups)
        monkeypatch.setattr(ray, "get", lambda reference: reference)
        return StubbedPool(RunData(workspace, "run"))

    return make


class Call(threading.Thread):
    """A call of `train` in a thread, as an actor of a trial makes it; `result` or `error`."""

    def __init__(self, pool: "StubbedPool", name: str, group: WorkerGroup = PAIR) -> None:
        super().__init__()
        self.pool, self.name_of_job, self.group = pool, name, group
        self.result: TrialRecord | str | None = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.pool.do(self.group, self.name_of_job)
        except (LaneLost, JobFailed) as error:
            self.error = error


def hold(name: str) -> None:
    """Let a job of this name begin, but not end before `may_end` is set."""
    StubGroup.begun[name], StubGroup.may_end[name] = threading.Event(), threading.Event()


def begin(pool: "StubbedPool", name: str) -> Call:
    """Start a job that is at work until `may_end` is set."""
    hold(name)
    call = Call(pool, name)
    assert StubGroup.begun[name].wait(DEADLINE_S)
    return call


def end(call: Call) -> None:
    StubGroup.may_end[call.name_of_job].set()
    call.join(DEADLINE_S)
    assert not call.is_alive()


def test_jobs_one_after_another_share_a_group(make_pool: Callable[..., StubbedPool]) -> None:
    pool = make_pool(3)
    StubGroup.errors["bad"] = JobFailed("ValueError: too few pairs")
    assert str(pool.do(PAIR, "a", 1)) == "a-1"
    with pytest.raises(JobFailed, match=r"^ValueError: too few pairs$"):
        pool.do(PAIR, "bad")
    pool.make_room(PAIR, 1)  # the next experiment, of the same lanes
    pool.do(WorkerGroup(2), "b")
    [group] = StubGroup.up
    assert group.jobs == ["a", "bad", "b"]


def test_groups_of_other_lanes_and_those_too_many_are_closed(
    make_pool: Callable[..., StubbedPool],
) -> None:
    pool = make_pool(3)
    for call in [begin(pool, "a"), begin(pool, "b")]:
        end(call)
    pool.do(OTHER, "c")
    assert [group.group for group in StubGroup.up] == [PAIR, PAIR, OTHER]
    pool.make_room(PAIR, 1)
    assert [group.group for group in StubGroup.up] == [PAIR]
    pool.make_room(WorkerGroup(1), 8)
    assert StubGroup.up == []
    assert pool.num_up == 0


@pytest.mark.parametrize("error", [LaneLost("died too often"), OSError("no such bucket")])
def test_a_group_that_is_lost_is_closed_and_the_next_job_has_a_new_one(
    make_pool: Callable[..., StubbedPool], error: Exception
) -> None:
    pool = make_pool()
    StubGroup.errors["a"] = error
    with pytest.raises(type(error), match=f"^{error}$"):
        pool.do(PAIR, "a")
    assert StubGroup.up == []
    pool.do(PAIR, "b")
    assert StubGroup.num_started == 2


def test_a_group_that_died_idle_is_replaced(make_pool: Callable[..., StubbedPool]) -> None:
    pool = make_pool()
    pool.do(PAIR, "a")
    StubGroup.up[0].is_alive = False
    pool.do(PAIR, "b")
    assert [group.jobs for group in StubGroup.up] == [["b"]]
    pool.do(OTHER, "c")  # one that is left over from other lanes makes room too
    assert [group.jobs for group in StubGroup.up] == [["c"]]


def test_a_job_waits_for_a_group_where_the_cluster_holds_no_more(
    make_pool: Callable[..., StubbedPool],
) -> None:
    asked = threading.Semaphore(0)
    pool = make_pool(2, asked=asked.release)
    first, second = begin(pool, "a"), begin(pool, "b")
    hold("c")
    third = Call(pool, "c")
    for _ in range(3):
        assert asked.acquire(timeout=DEADLINE_S)
    with pool.changed:  # free only once the third waits
        assert not StubGroup.begun["c"].is_set()
    end(second)
    assert StubGroup.begun["c"].wait(DEADLINE_S)
    end(third)
    end(first)
    assert [group.jobs for group in StubGroup.up] == [["a"], ["b", "c"]]


def test_a_job_whose_trial_died_goes_on_for_the_next_trial(
    make_pool: Callable[..., StubbedPool],
) -> None:
    pool = make_pool(2)
    died = begin(pool, "a")
    again = Call(pool, "a")
    StubGroup.may_end["a"].set()
    for call in (died, again):
        call.join(DEADLINE_S)
        assert call.result == "a-0"
    assert [group.jobs for group in StubGroup.up] == [["a"]]
    assert pool.running == {}


def test_a_group_that_cannot_start_leaves_its_place(make_pool: Callable[..., StubbedPool]) -> None:
    pool = make_pool(0, LaneNotStarted("3 workers need 3 x (1 CPU)"))  # nodes went away
    for _ in range(2):
        with pytest.raises(LaneNotStarted, match=r"^3 workers need 3 x \(1 CPU\)$"):
            pool.do(PAIR, "a")
    assert pool.num_up == 0


class FakeRay:
    """An actor's handle that notes its calls, and what this module asks of Ray."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.make_room = SimpleNamespace(remote=lambda *given: ("make_room", *given))

    def options(self, **given: Any) -> "FakeRay":
        assert given["num_cpus"] == 0
        return self

    def remote(self, *given: Any) -> "FakeRay":
        self.calls.append(("start", *given))
        return self


@pytest.fixture
def actor(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "remote", lambda kind: fake)
    monkeypatch.setattr(ray, "put", lambda value: value)
    monkeypatch.setattr(ray, "get", fake.calls.append)
    monkeypatch.setattr(ray, "kill", lambda killed: fake.calls.append(("kill",)))
    return fake


def test_the_pool_starts_with_the_first_lanes_that_need_it(
    actor: FakeRay, workspace: Any, tmp_path: Path
) -> None:
    wide, narrow = LanesConfig(workers=2), LanesConfig()
    with SharedGroups(workspace, tmp_path) as groups:
        assert groups.prepare(narrow, 4) is None
        assert actor.calls == []
        pool = groups.prepare(wide, 4)
        assert pool == Pool(actor, RunData(workspace, str(tmp_path)))
        groups.prepare(wide, 3)
        with share_groups(groups, workspace, tmp_path) as shared:
            shared.prepare(narrow, 2)
    assert actor.calls == [
        ("start",),
        ("make_room", WorkerGroup(2, cpus=1.0), 3),
        ("make_room", WorkerGroup(1, cpus=1.0), 2),
        ("make_room",),
        ("kill",),
    ]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_ends_the_pool_at_once(
    actor: FakeRay, workspace: Any, tmp_path: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error), share_groups(None, workspace, tmp_path) as groups:  # noqa: PT012
        groups.prepare(LanesConfig(workers=2), 1)
        raise error
    assert actor.calls[1:] == [("kill",)]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (RayTaskError("train", "trace", JobFailed("a")), JobFailed("a")),
        (RayTaskError("train", "trace", LaneNotStarted("b")), LaneNotStarted("b")),
        (ActorDiedError(), LaneLost("The pool of worker groups ended: ")),
    ],
)
def test_a_lane_raises_what_the_group_raised(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: Exception
) -> None:
    def get(pending: Any) -> None:
        raise raised

    monkeypatch.setattr(ray, "get", get)
    actor = SimpleNamespace(train=SimpleNamespace(remote=lambda *given: None))
    with pytest.raises(type(expected)) as caught:
        Pool(actor, RunData(None, "run")).train(PAIR, make_job("a"), 0)
    assert type(caught.value) is type(expected)
    assert str(caught.value).startswith(str(expected))
