"""Users needed, by hand."""

import pytest

from scpo.statistics.lower_bound import means_by_user
from sweeps.ranking.power import country_power, describe_power
from sweeps.ranking.ranking import rank_country


def test_users_needed_come_from_the_variance_seen(trial):
    # gains on plain fine-tuning of 2, 0, 0, 0 of 10 pairs each: G = 1/20,
    # SE^2 = 4/3 * (1.5^2 + 3 * 0.5^2) / 40^2 = 1/400, so an error of 5 points with 4 users
    trials = [trial("0", [6, 6, 6, 6], 99, full=True), trial("b", [8, 6, 6, 6], 50)]
    power = country_power(rank_country(trials, "Mexico"))
    assert (power.num_users, power.error) == (4, pytest.approx(0.05))
    assert power.needed == (785, 88)  # 4 * (2.8016 * 5 / 1)^2 and a ninth
    words = describe_power(rank_country(trials, "Mexico"))
    assert "with 4 users the gain of a setting has a standard error of 5.0 points" in words
    assert "it takes 785 users to show 1 point and 88 users to show 3 points" in words


def test_one_user_or_settings_that_agree_tell_nothing(trial):
    assert describe_power(rank_country([trial("0", [6], 99, full=True)], "Mexico")) == ""
    same = [trial("0", [6, 6], 99, full=True), trial("b", [6, 6], 50)]
    assert country_power(rank_country(same, "Mexico")) is None
    failed = rank_country([trial("f", [1], 5, state="failed")], "Mexico")
    assert country_power(failed) is None


def test_without_plain_fine_tuning_gains_are_on_the_global_model(trial):
    # gains on the global model, which orders 1 2 1 2 right, of 5 4 5 0
    power = country_power(rank_country([trial("b", [6, 6, 6, 2], 50)], "Mexico"))
    errors = means_by_user([[5.0, 4.0, 5.0, 0.0]], [10.0] * 4)[1]
    assert power.error == pytest.approx(float(errors[0]))
