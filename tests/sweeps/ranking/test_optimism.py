import numpy as np
import pytest

from sweeps.ranking.optimism import NUM_CHOICES, choose_again, estimate_optimism
from sweeps.ranking.recommendation import Candidates


def estimate(correct, pairs, *, chosen=0, violation=None):
    correct = np.array(correct, dtype=float)
    candidates = Candidates(
        correct,
        np.array(pairs, dtype=float),
        np.full(len(correct), 50.0),
        np.zeros(len(correct)) if violation is None else np.array(violation),
    )
    return estimate_optimism(candidates, chosen=chosen, margin=0.01)


def test_two_settings_that_suit_one_user_each_by_hand():
    # Drawn twice the first user: row 0 again, nothing lost. Drawn twice the second: row 1 is
    # chosen and judged on the first, 0 right against 10. Both once: nobody is left out.
    draws = np.random.default_rng(0).multinomial(2, [0.5, 0.5], size=NUM_CHOICES)
    first, second = (draws[:, 0] == 2).sum(), (draws[:, 1] == 2).sum()
    expected = 10 * second / (10 * (first + second))
    assert estimate([[10, 0], [0, 10]], [10, 10]) == pytest.approx(expected)
    assert expected == pytest.approx(0.5, abs=0.1)


def test_users_count_by_their_pairs():
    # as above, but row 1 is best of all and loses its 30 pairs where the first user was drawn
    draws = np.random.default_rng(0).multinomial(2, [0.5, 0.5], size=NUM_CHOICES)
    first, second = (draws[:, 0] == 2).sum(), (draws[:, 1] == 2).sum()
    expected = 30 * first / (30 * first + 10 * second)
    assert estimate([[10, 0], [0, 30]], [10, 30], chosen=1) == pytest.approx(expected)


def test_what_breaks_the_constraint_is_never_chosen_again():
    assert estimate([[3, 9], [4, 20]], [4, 20], violation=[0.0, 0.1]) == 0.0


def test_one_setting_or_a_clear_winner_is_not_flattered():
    assert estimate([[3, 7, 5]], [10, 10, 10]) == 0.0
    assert estimate([[9, 9, 9], [2, 2, 2]], [10, 10, 10]) == 0.0


def test_one_user_tells_nothing():
    assert estimate([[3], [5]], [10]) is None


def test_resamples_and_choices_have_one_row_each():
    candidates = Candidates(
        np.array([[9.0, 9.0, 0.0], [0.0, 0.0, 9.0]]),
        np.full(3, 10.0),
        np.array([50.0, 50.0]),
        np.zeros(2),
    )
    draws, chosen = choose_again(candidates, margin=0.01, seed=4)
    assert draws.shape == (NUM_CHOICES, 3)
    assert (draws.sum(axis=1) == 3).all()
    # row 1 wins exactly where its user was drawn at least twice
    assert (chosen == (draws[:, 2] >= 2)).all()


def test_equal_settings_under_noise_are_brought_back_to_their_mean():
    flattered, corrected = [], []
    for world in range(12):
        rng = np.random.default_rng(world)
        correct = rng.binomial(10, 0.65, (10, 10)).astype(float)
        best = int(correct.sum(axis=1).argmax())
        accuracy = correct[best].sum() / 100
        truth = correct.mean() / 10
        flattered.append(accuracy - truth)
        corrected.append(accuracy - estimate(correct, [10] * 10, chosen=best) - truth)
    assert np.mean(flattered) > 0.05
    assert abs(np.mean(corrected)) < 0.02
