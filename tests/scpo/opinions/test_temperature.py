import math

import numpy as np
import pytest
from scipy.special import log_softmax

from scpo.data.sources.global_opinions import SurveyQuestion
from scpo.opinions.answers import build_answers, option_probabilities
from scpo.opinions.temperature import TEMPERATURES, fit_temperature, other_shares


def test_the_temperature_that_made_the_answers_is_found() -> None:
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=(300, 4))
    rewards[::3, 3] = -np.inf
    for temperature in (0.2, 1.0, 7.0):
        shares = option_probabilities(rewards, temperature=temperature)
        assert fit_temperature(rewards, 3 * shares) == pytest.approx(temperature, rel=1e-3)


def test_no_other_temperature_has_a_smaller_loss() -> None:
    rng = np.random.default_rng(1)
    rewards, shares = rng.normal(size=(60, 5)), rng.dirichlet(np.ones(5), size=60)
    shares[rng.random(60) < 0.3] = 0  # nobody else was asked
    shares += 0.4 * (rewards == rewards.max(axis=1, keepdims=True)) * (shares > 0)

    def loss(temperature: float) -> float:
        return -float(np.sum(shares * log_softmax(rewards / temperature, axis=1)))

    fitted = fit_temperature(rewards, shares)
    grid = np.geomspace(*TEMPERATURES, 400)
    assert loss(fitted) <= min(map(loss, grid)) + 1e-9
    assert TEMPERATURES[0] * 2 < fitted < TEMPERATURES[1] / 2


def test_a_model_that_is_wrong_chooses_nearly_at_random() -> None:
    fitted = fit_temperature(np.array([[1.0, 0.0]]), np.array([[0.1, 0.9]]))
    assert fitted == pytest.approx(TEMPERATURES[1], rel=1e-2)


def test_own_answers_are_left_out() -> None:
    answers = build_answers(
        [
            SurveyQuestion("A?", ("x", "y"), {"Chile": (0.3, 0.7), "Mali": (0.25, 0.75)}),
            SurveyQuestion("B?", ("x", "y"), {"Chile": (0.2, 0.8)}),
        ]
    )
    assert other_shares(answers, 0) == pytest.approx(np.array([[0.25, 0.75], [0, 0]]))
    assert other_shares(answers, 1) == pytest.approx(np.array([[0.3, 0.7], [0.2, 0.8]]))


def test_a_country_alone_has_no_temperature() -> None:
    with pytest.raises(ValueError, match="Another country's answers are needed"):
        fit_temperature(np.array([[0.0, 1.0]]), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="Shapes must be equal"):
        fit_temperature(np.array([[0.0, math.nan]]), np.zeros((2, 2)))
