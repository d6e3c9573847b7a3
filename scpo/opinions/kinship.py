"""What other countries know: their answers weighted by kinship, with a country's model on top.

D_cj is the shrunk mean distance of country c to j over the TRAINING questions that both answered:

    D_cj = (sum of JS distances + 10 mean) / (n_cj + 10),   a_j = exp(-kappa (D_cj - min D)),
    p = sum_j a_j share_j / sum_j a_j   over the countries j that answered the question,
    answer = softmax(log max(p, 1e-4) + gamma r_c),

where mean is over all common answers of all countries. kappa = 0 is the plain average, gamma = 0
leaves the model out. Both are chosen by nearness on held-out training questions. A question that
nobody else answered has the model's own answer, softmax(r_c), or without a model the uniform one.

The others' answers to the very question are used: this is no figure for questions that are new to
everybody.

Legend: Q questions of the country, J other countries, K the most options of a question.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import softmax

from scpo.arrays import BoolArray, FloatArray, IntArray
from scpo.opinions.answers import js_similarity

KAPPAS = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0)
GAMMAS = (0.0, 0.1, 0.2, 0.4, 0.8)
KIN = "kin-weighted others"  # the row without a model; with one it is "kin + " and its name
INNER_FOLDS = 3
_PRIOR = 10.0  # questions that the mean distance counts for
_LEAST = 1e-4  # share, where nobody chose an option


@dataclass(frozen=True)
class KinSettings:
    """How far kinship counts, and the model; chosen on training questions."""

    kappa: float
    gamma: float


@dataclass(frozen=True)
class OthersAnswers:
    """A country's answers beside those of the others.

    Attributes:
        own: Its shares of people by option, shape (Q, K), 0 where there is no option.
        others: Those of each other country, 0 where it was not asked, shape (J, Q, K).
        options: Where the question has an option, shape (Q, K).
    """

    own: FloatArray
    others: FloatArray
    options: BoolArray

    @property
    def asked(self) -> BoolArray:
        """Return which other countries answered which questions, shape (J, Q)."""
        return np.asarray(self.others.sum(axis=-1) > 0)

    def take(self, questions: IntArray) -> "OthersAnswers":
        """Return the named questions."""
        return OthersAnswers(
            self.own[questions], self.others[:, questions], self.options[questions]
        )

    def distances(self) -> FloatArray:
        """Return the base-2 JS distance of each other answer, NaN where there is none, (J, Q)."""
        own = np.broadcast_to(self.own, self.others.shape)
        return np.where(self.asked, 1.0 - js_similarity(self.others, own), np.nan)


def kin_distances(distances: FloatArray, train: IntArray) -> FloatArray:
    """Return D of each other country over training questions, shape (J,).

    `distances` are those of `OthersAnswers.distances`, shape (J, Q). Without one common question
    all are 0.
    """
    given = distances[:, train]
    count = np.count_nonzero(~np.isnan(given), axis=1)
    sums = np.nansum(given, axis=1)
    mean = sums.sum() / max(count.sum(), 1)
    return np.asarray((sums + _PRIOR * mean) / (count + _PRIOR))


def kin_average(answers: OthersAnswers, distance: FloatArray, kappa: float) -> FloatArray:
    """Return the others' answers weighted by kinship, shape (Q, K); 0 where nobody was asked.

    `distance` is that of `kin_distances`, shape (J,).
    """
    weight = np.exp(-kappa * (distance - distance.min(initial=np.inf)))[:, np.newaxis]
    weights = weight * answers.asked
    sums = np.einsum("jq,jqk->qk", weights, answers.others)
    return np.asarray(sums / np.maximum(weights.sum(axis=0), np.finfo(float).tiny)[:, None])


def kin_answer(
    answers: OthersAnswers, average: FloatArray, rewards: FloatArray | None, gamma: float
) -> FloatArray:
    """Return the answer of kin and model, shape (Q, K).

    Args:
        answers: The others', for their options.
        average: Of `kin_average`, shape (Q, K).
        rewards: The model's of each option, shape (Q, K); None for no model.
        gamma: What the rewards count; without effect where nobody else was asked.
    """
    known = np.asarray(answers.asked.any(axis=0))[:, np.newaxis]
    if rewards is None:
        uniform = answers.options / answers.options.sum(axis=1, keepdims=True)
        return np.where(known, average, uniform)
    log_prior = np.where(known, np.log(np.maximum(average, _LEAST)), 0.0)
    logits = log_prior + np.where(known, gamma, 1.0) * np.where(answers.options, rewards, 0.0)
    return np.asarray(softmax(np.where(answers.options, logits, -np.inf), axis=-1))


def choose_kin(
    answers: OthersAnswers,
    distances: FloatArray,
    rewards: FloatArray | None,
    held: IntArray,
    seen: IntArray,
) -> KinSettings:
    """Return the settings that come nearest to the country's answers on held-out questions.

    Args:
        answers: The country's, Q questions.
        distances: Of `OthersAnswers.distances`, shape (J, Q).
        rewards: As of `kin_answer`, by models that did not train on the questions held out.
        held: The inner fold that holds each question out, -1 for none, shape (Q,).
        seen: The training questions, positions among Q.

    Equal ones go to the first of the grid: least kinship, least of the model.
    """
    grid = list(product(KAPPAS, (0.0,) if rewards is None else GAMMAS))
    gained = np.zeros(len(grid))
    for fold in np.unique(held[seen][held[seen] >= 0]).tolist():
        inside = seen[held[seen] == fold]
        distance = kin_distances(distances, seen[held[seen] != fold])
        part = answers.take(inside)
        own = None if rewards is None else rewards[inside]
        averages = {kappa: kin_average(part, distance, kappa) for kappa in KAPPAS}
        for number, (kappa, gamma) in enumerate(grid):
            predicted = kin_answer(part, averages[kappa], own, gamma)
            gained[number] += js_similarity(predicted, part.own).sum()
    return KinSettings(*grid[int(np.argmax(gained))])


def deal_questions(num_questions: int, num_folds: int, *, seed: int) -> IntArray:
    """Return a fold of each question, 0..k-1, in random order, sizes differ by one, shape (Q,)."""
    order = np.random.default_rng(seed).permutation(num_questions)
    fold = np.empty(num_questions, dtype=np.int64)
    fold[order] = np.arange(num_questions) % num_folds
    return fold


def predict_kin(
    answers: OthersAnswers,
    rewards: FloatArray | None,
    folds: Sequence[tuple[IntArray, IntArray, IntArray]],
) -> FloatArray:
    """Return the answers of kin (and model) to the questions that some folds judge, (Q, K).

    Args:
        answers: The country's, Q questions.
        rewards: As of `choose_kin`.
        folds: For each fold its training questions, the questions that it judges (positions
            among Q), and the inner fold of each question as of `choose_kin`.

    Questions that no fold judges are NaN.
    """
    distances = answers.distances()
    predicted = np.full(answers.own.shape, np.nan)
    for seen, judged, held in folds:
        chosen = choose_kin(answers, distances, rewards, held, seen)
        part = answers.take(judged)
        average = kin_average(part, kin_distances(distances, seen), chosen.kappa)
        own = None if rewards is None else rewards[judged]
        predicted[judged] = kin_answer(part, average, own, chosen.gamma)
    return predicted
