"""Users dealt into folds."""

import numpy as np
import pytest

from scpo.statistics.user_folds import deal_users, shuffle_users


def test_users_are_dealt_whole_and_evenly() -> None:
    user = np.array(list("aabbbccdeeefg"))
    fold = deal_users(user, 3, seed=4)
    by_user = {name: set(fold[user == name].tolist()) for name in user.tolist()}
    assert all(len(folds) == 1 for folds in by_user.values())
    sizes = np.bincount([next(iter(folds)) for folds in by_user.values()])
    assert sorted(sizes.tolist()) == [2, 2, 3]
    assert np.array_equal(fold, deal_users(user, 3, seed=4))
    assert any(not np.array_equal(fold, deal_users(user, 3, seed=seed)) for seed in range(4))


def test_every_third_user_of_the_shuffled_order_is_in_one_fold() -> None:
    user = np.array(list("gfedcbagfedcba"))  # rows in any order
    shuffled = np.random.default_rng(5).permutation(list("abcdefg"))
    assert shuffle_users(user, seed=5) == shuffled.tolist()
    fold = deal_users(user, 3, seed=5)
    for number in range(3):
        assert set(user[fold == number]) == set(shuffled[number::3])


@pytest.mark.parametrize("folds", [1, 3])
def test_as_many_folds_as_users_at_most(folds: int) -> None:
    with pytest.raises(ValueError, match=rf"`2 <= folds <= 2`, the users, must hold, got {folds}"):
        deal_users(np.array(["a", "b", "b"]), folds, seed=0)
