"""What a search can show, before it starts."""

from types import SimpleNamespace

import numpy as np

from sweeps.cost.planned_power import describe_power_before, needed_before


def test_users_needed_by_hand() -> None:
    # 10 pairs a user: a variance of 0.1 / 400 with 40 users, (2.8016 / 0.01)^2 * 0.1 / 10 = 785
    assert needed_before(40, 400) == (785, 88)
    assert needed_before(20, 200) == (785, 88)  # users enter by their pairs alone


def test_folds_judge_by_the_users_of_training_too() -> None:
    part = np.array(["train"] * 20 + ["validation"] * 10 + ["test"] * 10)
    data = SimpleNamespace(
        country="Chile",
        user=np.repeat(["a", "b", "c", "d"], 10),
        pairs_in=lambda name: np.flatnonzero(part == name),
    )
    one, three = (describe_power_before([data], folds) for folds in (1, 3))
    assert "Chile: 1 judge its settings, 785 would show 1 point and 88 3" in one
    assert "Chile: 3 judge its settings" in three
    assert "two settings order 10 % of the pairs differently" in one
