import numpy as np
import pytest

from sweeps.ranking.optimism import NUM_CHOICES, choose_again, estimate_optimism
from sweeps.ranking.recommendation import GLOBAL_ROW, Candidates, choose_accurate


def candidates_of(correct, pairs, *, glob=None, violation=None):
    correct = np.array(correct, dtype=float)
    return Candidates(
        correct,
        np.array(pairs, dtype=float),
        np.zeros(len(pairs)) if glob is None else np.array(glob, dtype=float),
        np.full(len(correct), 50.0),
        np.zeros(len(correct)) if violation is None else np.array(violation),
        0,
    )


def estimate(candidates, chosen, caution=1.645):
    return estimate_optimism(candidates, chosen=chosen, caution=caution)


def test_the_whole_choice_is_made_again_on_resamples() -> None:
    rng = np.random.default_rng(1)
    candidates = candidates_of(rng.binomial(10, 0.6, (6, 8)), [10] * 8, glob=[5] * 8)
    draws, chosen = choose_again(candidates, caution=0.5, seed=4)
    assert draws.shape == (NUM_CHOICES, 8)
    assert (draws.sum(axis=1) == 8).all()
    lost = judged = 0.0
    for draw, again in zip(draws, chosen, strict=True):
        users = [user for user, count in enumerate(draw) for _ in range(count)]
        resample = candidates_of(
            candidates.correct[:, users], [10] * 8, glob=candidates.global_correct[users]
        )
        assert choose_accurate(resample, 0.5)[1] == again
    draws, chosen = choose_again(candidates, caution=0.5)
    rows = candidates.rows
    for draw, again in zip(draws, chosen, strict=True):
        for user in np.flatnonzero(draw == 0):
            lost += rows[2][user] - rows[again][user]
            judged += 10
    assert estimate(candidates, 2, 0.5) == pytest.approx(lost / judged)


def test_the_global_model_may_be_chosen_again() -> None:
    candidates = candidates_of([[3, 2, 3, 2]], [10] * 4, glob=[9, 8, 8, 9])
    _, chosen = choose_again(candidates, caution=1.0)
    assert (chosen == GLOBAL_ROW).mean() > 0.9


def test_what_breaks_the_constraint_is_never_chosen_again() -> None:
    candidates = candidates_of([[3, 3, 4], [9, 9, 10]], [10] * 3, violation=[0.0, 0.1])
    assert estimate(candidates, 0) == 0.0


def test_a_base_that_stays_is_not_flattered() -> None:
    assert estimate(candidates_of([[3, 7, 5]], [10, 10, 10]), 0) == 0.0
    assert estimate(candidates_of([[9, 9, 9], [2, 2, 2]], [10, 10, 10]), 0) == 0.0


def test_one_user_tells_nothing() -> None:
    assert estimate(candidates_of([[3], [5]], [10]), 0) is None
    assert estimate(candidates_of([[3, 4], [5, 5]], [10, 10]), 0) is not None  # two do


def test_equal_settings_under_noise_are_brought_back_to_their_mean() -> None:
    flattered, corrected = [], []
    for world in range(12):
        correct = np.random.default_rng(world).binomial(10, 0.65, (10, 10)).astype(float)
        candidates = candidates_of(correct, [10] * 10)
        chosen = choose_accurate(candidates, 0.0)[1]
        accuracy, truth = correct[chosen].sum() / 100, correct.mean() / 10
        flattered.append(accuracy - truth)
        corrected.append(accuracy - estimate(candidates, chosen, 0.0) - truth)
    assert np.mean(flattered) > 0.05
    assert abs(np.mean(corrected)) < 0.02
