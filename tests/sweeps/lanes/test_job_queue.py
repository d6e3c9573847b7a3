"""The queue of a sharded lane, without Ray: who gets which job, and when a job has failed."""

import asyncio
import subprocess
import sys

import pytest

from sweeps.lanes.death_notes import DeathNotes, describe_deaths
from sweeps.lanes.job_queue import JobQueue

DONE = {"record": "{}"}


async def start_workers(queue: JobQueue, ranks: int = 2) -> int:
    """Begin as workers do, take the next job on every rank, and return its index."""
    index, fault = await queue.begin()
    assert fault is None
    jobs = [await queue.take(index, rank) for rank in range(ranks)]
    assert jobs == [queue.jobs[index]] * ranks
    return index


def test_every_rank_gets_the_same_jobs_in_order() -> None:
    async def run() -> None:
        queue = JobQueue(3)
        assert [await queue.submit({"n": n}) for n in (0, 1)] == [0, 1]
        assert await queue.begin() == (0, None)
        for index in (0, 1):
            assert [await queue.take(index, rank) for rank in (1, 0)] == [{"n": index}] * 2
            await queue.report(index, DONE)
            assert await queue.outcome(index) == DONE
        await queue.close()
        assert [await queue.take(2, rank) for rank in (0, 1)] == [None, None]
        assert await queue.count_starts() == 1

    asyncio.run(run())


def test_workers_and_driver_wait_for_each_other() -> None:
    async def run() -> None:
        queue = JobQueue(3)
        taking = asyncio.create_task(queue.take(0, 0))
        waiting = asyncio.create_task(queue.outcome(0))
        await asyncio.sleep(0)
        assert not taking.done()
        await queue.submit({"n": 0})
        assert await taking == {"n": 0}
        assert not waiting.done()
        await queue.report(0, DONE)
        assert await waiting == DONE

    asyncio.run(run())


def test_a_closed_queue_still_gives_what_was_submitted() -> None:
    async def run() -> None:
        queue = JobQueue(3)
        await queue.submit({"n": 0})
        await queue.close()
        assert await queue.take(0, 0) == {"n": 0}
        assert await queue.take(1, 0) is None

    asyncio.run(run())


def test_a_job_whose_workers_died_is_given_once_more_and_then_has_failed() -> None:
    async def run() -> None:
        queue = JobQueue(3)
        for number in range(2):
            await queue.submit({"n": number})
        assert await start_workers(queue) == 0
        assert await start_workers(queue) == 0  # once more
        await queue.note_death("rank 1: killed")
        assert await start_workers(queue) == 1
        assert queue.outcomes == [{"failed": "Its workers died 2 times: rank 1: killed"}]
        await queue.report(1, DONE)
        assert await queue.begin() == (2, None)

    asyncio.run(run())


def test_an_outcome_counts_once() -> None:
    async def run() -> None:
        queue = JobQueue(3)
        await queue.submit({"n": 0})
        await queue.report(0, DONE)
        await queue.report(0, {"failed": "late"})
        assert queue.outcomes == [DONE]

    asyncio.run(run())


@pytest.mark.parametrize("max_failures", [0, 2])
def test_workers_that_never_do_a_job_end_the_lane(max_failures: int) -> None:
    async def run() -> None:
        queue = JobQueue(max_failures)
        for _ in range(1 + max_failures):
            assert await queue.begin() == (0, None)
        index, fault = await queue.begin()
        assert index == 0
        assert fault is not None
        assert fault.startswith(f"Workers may be restarted {max_failures} times without")

    asyncio.run(run())


def test_a_job_done_makes_earlier_deaths_forgotten() -> None:
    async def run() -> None:
        queue = JobQueue(1)
        for number in range(4):
            await queue.submit({"n": number})
            assert await queue.begin() == (number, None)
            await queue.report(number, DONE)
        assert queue.num_starts == 4

    asyncio.run(run())


class Handle:
    """What an actor's handle looks like from outside."""

    def __init__(self) -> None:
        self.note_death = self
        self.said: list[str] = []

    def remote(self, words: str) -> None:
        self.said.append(words)


def test_deaths_are_told_in_one_line() -> None:
    errors = {1: RuntimeError("The actor died.\n\tclass_name: X"), 0: MemoryError()}
    assert describe_deaths(errors) == "rank 0: MemoryError; rank 1: The actor died."
    assert describe_deaths({0: RuntimeError("x" * 500)}) == f"rank 0: {'x' * 160}"
    handle = Handle()
    DeathNotes(handle).after_exception(None, errors)
    assert handle.said == ["rank 0: MemoryError; rank 1: The actor died."]


def test_a_process_that_holds_the_queue_imports_no_training_stack() -> None:
    code = (
        "import sys, sweeps.lanes.job_queue; "
        "print({'ray', 'torch', 'transformers', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
