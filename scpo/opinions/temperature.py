"""The temperature of a reward model's choices, fitted to the answers of other countries.

Rewards have no unit: a model's scale, which a softmax turns into certainty, is an accident of its
training. A temperature per model and country brings it to that of people, without a look at the
country that is judged.
"""

import math

import numpy as np
from scipy.optimize import minimize_scalar

from scpo.arrays import FloatArray
from scpo.opinions.answers import Answers, check_shapes, sum_by_question

TEMPERATURES = (1e-3, 1e3)  # between them one is looked for


def other_shares(answers: Answers, country: int) -> FloatArray:
    """Return the sum of all answers but one country's, by question, shape (Q, K)."""
    sums, _ = sum_by_question(answers)
    own = answers.country == country
    np.subtract.at(sums, answers.question[own], answers.shares[own])
    return np.clip(sums, 0, None)


def fit_temperature(rewards: FloatArray, shares: FloatArray) -> float:
    """Return the temperature, in `TEMPERATURES`, under which a model's choices are likeliest.

    The log loss sum_q [n_q logsumexp(r_q / T) - shares_q . r_q / T] is convex in 1 / T. A model
    that is wrong more often than right gets the highest temperature looked at: nearly uniform
    choices.

    Args:
        rewards: Shape (Q, K), -inf where there is no option.
        shares: Shape (Q, K), sums over answers; a question that nobody answered is all 0.

    Raises:
        ValueError: Shapes differ, or nobody answered.
    """
    check_shapes(rewards, shares)
    answered = shares.sum(axis=-1) > 0
    if not answered.any():
        raise ValueError(
            "Another country's answers are needed to fit a temperature, but there are none. "
            "Give a temperature instead."
        )
    given = rewards[answered] - rewards[answered].max(axis=-1, keepdims=True)
    weight = shares[answered]
    count = weight.sum(axis=-1)
    fit = float(np.sum(weight * np.where(weight > 0, given, 0.0)))

    def log_loss(log_temperature: float) -> float:
        inverse = math.exp(-log_temperature)
        return float(count @ np.log(np.exp(given * inverse).sum(axis=-1)) - fit * inverse)

    bounds = (math.log(TEMPERATURES[0]), math.log(TEMPERATURES[1]))
    return math.exp(minimize_scalar(log_loss, bounds=bounds, method="bounded").x)
