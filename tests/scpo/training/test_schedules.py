import math

import pytest

from scpo.training.schedules import make_schedule


def factors(kind, steps, **options):
    schedule = make_schedule(kind, **options)
    return [schedule(step) for step in steps]


@pytest.mark.parametrize("num_steps", [1, 3, 7, 1000])
def test_linear_without_warmup_is_the_plain_decay_to_the_bit(num_steps):
    steps = range(num_steps + 3)
    expected = [max(0.0, 1.0 - step / num_steps) for step in steps]
    assert factors("linear", steps, num_steps=num_steps) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("linear", [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]),
        ("cosine", [0.0, 0.5, 1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0.0, 0.0]),
        ("constant", [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_by_hand(kind, expected):
    # two steps of warm-up and four of decay; cos(pi / 4) is the root of a half
    found = factors(kind, range(8), num_steps=6, warmup_share=1 / 3)
    assert found == pytest.approx(expected, abs=1e-15)
    assert found[6] == expected[6]  # the end is exact


def test_no_warmup_starts_at_the_peak():
    for kind in ("linear", "cosine", "constant"):
        assert make_schedule(kind, num_steps=10)(0) == 1.0


def test_warmup_is_rounded_to_whole_steps():
    assert factors("constant", [0, 1, 2], num_steps=10, warmup_share=0.14) == [0.0, 1.0, 1.0]
    assert factors("constant", [0, 1, 2], num_steps=10, warmup_share=0.16) == [0.0, 0.5, 1.0]
    assert factors("constant", [0], num_steps=10, warmup_share=0.04) == [1.0]


def test_one_step_at_least_is_left_after_the_warmup():
    assert factors("linear", [0, 1], num_steps=1, warmup_share=0.9) == [1.0, 0.0]
    assert factors("linear", [0, 1, 2, 3], num_steps=3, warmup_share=0.99) == [0.0, 0.5, 1.0, 0.0]


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup_share", [0.0, 0.1, 0.5, 0.95])
def test_rises_once_and_then_never(kind, warmup_share):
    found = factors(kind, range(25), num_steps=20, warmup_share=warmup_share)
    peak = found.index(1.0)
    assert peak == round(20 * warmup_share)
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)
    assert 0.0 <= min(found) <= max(found) == 1.0


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"kind must be one of .*'constant'.*, but got 'step'"):
        make_schedule("step", num_steps=3)
    with pytest.raises(ValueError, match="`num_steps >= 1` must hold, but got num_steps=0"):
        make_schedule("linear", num_steps=0)
    for share in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="`0 <= warmup_share < 1` must hold, but got"):
            make_schedule("linear", num_steps=3, warmup_share=share)
