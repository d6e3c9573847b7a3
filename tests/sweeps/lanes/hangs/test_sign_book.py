"""What is known of processes, by a clock that the test sets."""

from sweeps.lanes.hangs.sign_book import SignBook
from sweeps.lanes.hangs.signs import Process, Sign

ONE = Process("node", "host", 1, 0.0)
TWO = Process("node", "host", 2, 0.0)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def sign(process: Process, job: str | None, steps: int) -> Sign:
    return Sign("lane", process, 0, job, steps)


def test_silence_and_standstill_are_told_apart() -> None:
    clock = Clock()
    book = SignBook(clock)
    for second in range(5):
        clock.now = 100.0 + second
        book.hear(sign(ONE, "a", min(second, 2)))  # stands still from 102 on
        if second < 4:
            book.hear(sign(TWO, "a", second))  # silent from 103 on
        book.read()
    clock.now = 104.5
    one, two = book.read().heard
    assert (one.sign.process, one.silent_s, one.still_s) == (ONE, 0.5, 2.5)
    assert (two.sign.process, two.silent_s, two.still_s) == (TWO, 1.5, 1.5)


def test_the_longest_step_counts_within_a_job_alone() -> None:
    clock = Clock()
    book = SignBook(clock)
    for at, job, steps in [
        (100.0, None, 0),
        (150.0, "a", 0),  # it waited for a job
        (153.0, "a", 1),
        (153.5, "a", 1),
        (160.0, "a", 2),  # 7 s after the step before
        (190.0, "b", 9),
        (191.0, "b", 10),
        (300.0, None, 10),
    ]:
        clock.now = at
        book.hear(sign(ONE, job, steps))
    assert book.read().longest_s == 7.0


def test_a_process_that_has_ended_is_left_out() -> None:
    book = SignBook(Clock())
    book.hear(sign(ONE, None, 0))
    book.forget(ONE)
    book.forget(TWO)
    assert book.read().heard == ()


def test_what_held_up_who_asks_is_no_silence_of_lanes() -> None:
    """A machine that slept; a driver that was stopped, while lanes went on, changes nothing."""
    clock = Clock()
    book = SignBook(clock)
    book.hear(sign(ONE, "a", 1))
    clock.now = 101.0
    book.read()
    clock.now = 3700.0
    [slept] = book.read().heard
    assert (slept.silent_s, slept.still_s) == (1.0, 1.0)
    clock.now = 9000.0
    book.hear(sign(ONE, "a", 2))
    [fresh] = book.read().heard
    assert (fresh.silent_s, fresh.still_s) == (0.0, 0.0)
