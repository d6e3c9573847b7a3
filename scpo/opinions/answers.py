"""Option distributions of surveys and of reward models, and how near one is to the other.

A reward model gives the options of a question Bradley-Terry's own choice rule,

    p_i = softmax_i(r(question, option_i) / T),

and its score is 1 minus the Jensen-Shannon *distance* (the root of the divergence) to the shares
of people. Base 2 has the range 0..1; the literature's natural logarithm cannot go below
1 - sqrt(ln 2) = 0.167. Total variation is the share of people to move from one to the other.

Legend: Q questions, K the most options that one has, N answers (one country, one question).
Options that a question does not have are 0 in a distribution and -inf in rewards.

Reference: Durmus et al. 2023, https://arxiv.org/abs/2306.16388; Zhao et al. 2023 (GPO),
https://arxiv.org/abs/2310.11523
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr, softmax

from scpo.arrays import FloatArray, IntArray
from scpo.data.sources.global_opinions import SurveyQuestion

METRICS = ("similarity_base2", "similarity_natural", "total_variation")


@dataclass(frozen=True)
class Answers:
    """N answers of countries to Q questions, as arrays."""

    countries: tuple[str, ...]  # their names, sorted
    country: IntArray  # of each answer, a position in `countries`, shape (N,)
    question: IntArray  # of each answer, ascending, shape (N,)
    shares: FloatArray  # share of people by option, shape (N, K)
    num_options: IntArray  # options of each question, shape (Q,)


def build_answers(questions: Sequence[SurveyQuestion]) -> Answers:
    """Return the answers of some questions as arrays.

    Raises:
        ValueError: No questions.
    """
    if not questions:
        raise ValueError("One question at least must be given, but got none.")
    names = [country for item in questions for country in item.shares]
    countries, country = np.unique(names, return_inverse=True)
    num_options = np.array([len(item.options) for item in questions], dtype=np.int64)
    question = np.repeat(np.arange(len(questions)), [len(item.shares) for item in questions])
    shares = np.zeros((len(question), num_options.max()))
    given = [row for item in questions for row in item.shares.values()]
    shares[_is_option(num_options)[question]] = np.concatenate(given)
    return Answers(tuple(countries.tolist()), country, question, shares, num_options)


def arrange_rewards(rewards: ArrayLike, num_options: IntArray) -> FloatArray:
    """Return rewards as a matrix, shape (Q, K), -inf where there is no option.

    They are given one after another: those of the first question's options, then the second's, and
    so on; `num_options` is of shape (Q,).

    Raises:
        ValueError: The number of rewards is not that of the options.
    """
    given = np.asarray(rewards, dtype=np.float64)
    if given.shape != (num_options.sum(),):
        raise ValueError(
            f"One reward an option must hold, {num_options.sum()} in all, but got the shape "
            f"{given.shape}."
        )
    matrix = np.full((len(num_options), num_options.max()), -np.inf)
    matrix[_is_option(num_options)] = given
    return matrix


def option_probabilities(rewards: ArrayLike, *, temperature: ArrayLike = 1.0) -> FloatArray:
    """Return softmax(rewards / temperature) over the options of each question.

    Args:
        rewards: Shape (..., K), finite or -inf, one finite value a row at least.
        temperature: T, positive and finite: one number, or one a row.

    Raises:
        ValueError: A temperature or a reward out of range.
    """
    temperatures = np.asarray(temperature, dtype=np.float64)
    if not np.all((temperatures > 0) & np.isfinite(temperatures)):
        raise ValueError(f"`0 < temperature < inf` must hold, but got {temperature!r}.")
    given = np.asarray(rewards, dtype=np.float64)
    num_bad = int(np.sum(~np.isfinite(given.max(axis=-1))))
    if num_bad:
        raise ValueError(
            "Rewards must be finite, and one option a question at least must have one, but "
            f"{num_bad} questions break this."
        )
    return np.asarray(softmax(given / temperatures[..., np.newaxis], axis=-1))


def uniform_answer(answers: Answers) -> FloatArray:
    """Return 1 / (number of options) for each option, shape (N, K)."""
    equal = _is_option(answers.num_options) / answers.num_options[:, np.newaxis]
    return equal[answers.question]


def average_answer(answers: Answers) -> FloatArray:
    """Return the mean answer of all countries to the question, the own one in it, shape (N, K)."""
    sums, counts = sum_by_question(answers)
    return (sums / counts[:, np.newaxis])[answers.question]


def average_of_others(answers: Answers) -> FloatArray:
    """Return the mean answer of the other countries to the question, shape (N, K).

    Where nobody else was asked it is the uniform answer: nothing else is known.
    """
    sums, counts = sum_by_question(answers)
    num_others = (counts - 1)[answers.question][:, np.newaxis]
    others = (sums[answers.question] - answers.shares) / np.maximum(num_others, 1)
    return np.where(num_others > 0, np.clip(others, 0, None), uniform_answer(answers))


def sum_by_question(answers: Answers) -> tuple[FloatArray, IntArray]:
    """Return the sum of shares (Q, K) and the number of answers (Q,) of each question."""
    sums = np.zeros((len(answers.num_options), answers.shares.shape[1]))
    np.add.at(sums, answers.question, answers.shares)
    return sums, np.bincount(answers.question, minlength=len(sums))


def js_similarity(first: FloatArray, second: FloatArray, *, base: float = 2.0) -> FloatArray:
    """Return 1 - Jensen-Shannon distance of distributions of shape (..., K), 1 for equal ones.

    `base` is that of the logarithm, above 1: 2 (range 0..1) or e (range 0.167..1).

    Raises:
        ValueError: Shapes differ.
    """
    check_shapes(first, second)
    middle = (first + second) / 2
    divergence = (rel_entr(first, middle) + rel_entr(second, middle)).sum(axis=-1) / 2
    # rounding goes below 0 where two are nearly equal: scipy's jensenshannon is NaN there
    return np.asarray(1 - np.sqrt(np.clip(divergence, 0, None) / math.log(base)))


def total_variation(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return half the sum of absolute differences, in 0..1, 0 for equal distributions.

    Shapes and errors as of `js_similarity`.
    """
    check_shapes(first, second)
    return np.asarray(np.abs(first - second).sum(axis=-1) / 2)


def score_answers(predicted: FloatArray, shares: FloatArray) -> FloatArray:
    """Return the `METRICS` of N predicted answers, shape (N, 3), from arrays of shape (N, K).

    Raises:
        ValueError: Shapes differ.
    """
    columns = (
        js_similarity(predicted, shares, base=2.0),
        js_similarity(predicted, shares, base=math.e),
        total_variation(predicted, shares),
    )
    return np.stack(columns, axis=-1)


def check_shapes(first: FloatArray, second: FloatArray) -> None:
    """Refuse arrays that would broadcast in silence."""
    if first.shape != second.shape:
        raise ValueError(f"Shapes must be equal, but got {first.shape} and {second.shape}.")


def _is_option(num_options: IntArray) -> np.ndarray:
    """Return where each question has an option, bool, shape (Q, K)."""
    return np.arange(num_options.max()) < num_options[:, np.newaxis]
