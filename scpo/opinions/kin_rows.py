"""The rows of `scpo opinions` that know what other countries answered: kin, and kin with a model.

Answers come in with the side of the split that each is on; scored rows go out. Of the part "test"
similarities are of the questions of training and validation, settings are chosen on validation, so
a model trained by `scpo train` saw neither. Of other parts the judged questions are dealt into
folds: each is answered with the similarities and settings of the others.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scpo.arrays import FloatArray, IntArray
from scpo.opinions.answers import METRICS, Answers, score_answers
from scpo.opinions.kinship import INNER_FOLDS, KIN, OthersAnswers, deal_questions, predict_kin
from scpo.opinions.model_answers import ModelLabel, list_arms
from scpo.opinions.opinion_scores import ScoredRow

_FOLDS = 5

_Folds = list[tuple[IntArray, IntArray, IntArray]]


def kin_rows(
    labels: Sequence[ModelLabel],
    rewards: Mapping[str, FloatArray],
    answers: Answers,
    side: NDArray[np.str_],
    part: str,
) -> list[ScoredRow]:
    """Return a row without a model, one for each model of everybody and one for each arm.

    Args:
        labels: Of the models; each country's own of an arm make one row.
        rewards: Of each option by label, shape (Q, K).
        answers: N of all countries.
        side: The part of each answer, "" of countries that are not judged, shape (N,).
        part: Which part is judged.
    """
    rows = [_row(KIN, {}, answers, side, part)]
    for label in labels:
        if label.country is None:
            by_country = dict.fromkeys(answers.countries, rewards[label.name])
            rows.append(_row(f"kin + {label.name}", by_country, answers, side, part))
    for arm in list_arms(labels):
        own = [label for label in labels if label.country and label.arm == arm.strip()]
        by_country = {str(label.country): rewards[label.name] for label in own}
        rows.append(_row(f"kin + own{arm}", by_country, answers, side, part))
    return rows


def answers_of(answers: Answers, country: int) -> tuple[OthersAnswers, IntArray]:
    """Return a country's answers beside the others', and their positions among all, shape (Q,)."""
    which = np.flatnonzero(answers.country == country)
    asked = answers.question[which]
    number = np.full(len(answers.num_options), -1)
    number[asked] = np.arange(len(asked))
    others = np.zeros((len(answers.countries), len(asked), answers.shares.shape[1]))
    theirs = np.flatnonzero((number[answers.question] >= 0) & (answers.country != country))
    others[answers.country[theirs], number[answers.question[theirs]]] = answers.shares[theirs]
    options = np.arange(others.shape[2]) < answers.num_options[asked][:, np.newaxis]
    return OthersAnswers(answers.shares[which], np.delete(others, country, 0), options), which


def _row(
    name: str,
    rewards: Mapping[str, FloatArray],
    answers: Answers,
    side: NDArray[np.str_],
    part: str,
) -> ScoredRow:
    """Return a row; `rewards` by country, none at all for no model."""
    scores = np.full((len(side), len(METRICS)), np.nan)
    for number, country in enumerate(answers.countries):
        mine, which = answers_of(answers, number)
        if not np.any(side[which] == part) or (rewards and country not in rewards):
            continue
        given = rewards[country][answers.question[which]] if rewards else None
        predicted = predict_kin(mine, given, _folds(side[which], part))
        judged = side[which] == part
        scores[which[judged]] = score_answers(predicted[judged], mine.own[judged])
    return ScoredRow(name, "kin", scores[side == part])


def _folds(side: NDArray[np.str_], part: str) -> _Folds:
    """Return training questions, judged ones and the inner folds, as of `predict_kin`."""
    if part == "test":
        seen = np.flatnonzero(np.isin(side, ("train", "validation")))
        held = np.where(side == "validation", 0, -1)
        return [(seen, np.flatnonzero(side == "test"), held)]
    judged = np.flatnonzero(side == part)
    fold = deal_questions(len(judged), _FOLDS, seed=0)
    folds: _Folds = []
    for number in np.unique(fold).tolist():
        seen = judged[fold != number]
        held = np.full(len(side), -1)
        held[seen] = deal_questions(len(seen), INNER_FOLDS, seed=1)
        folds.append((seen, judged[fold == number], held))
    return folds
