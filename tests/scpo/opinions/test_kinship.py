"""Kin-weighted answers against the formulas as loops, and what they may not look at."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from scpo.data.sources.global_opinions import SurveyQuestion
from scpo.opinions.answers import build_answers
from scpo.opinions.kin_rows import answers_of, kin_rows
from scpo.opinions.kinship import (
    OthersAnswers,
    choose_kin,
    deal_questions,
    kin_answer,
    kin_average,
    kin_distances,
)
from scpo.opinions.model_answers import parse_labels

COUNTRIES = ("Chile", "Ghana", "Mali", "Peru")


def make_survey(num_questions=30, seed=0):
    """Peru answers as Chile does, the others at random; nobody but Chile has the last question."""
    rng = np.random.default_rng(seed)
    survey = []
    for number in range(num_questions):
        options = tuple("abc"[: 2 + number % 2])
        shares = {name: rng.dirichlet(np.ones(len(options))) for name in COUNTRIES}
        shares["Peru"] = 0.9 * shares["Chile"] + 0.1 * shares["Peru"]
        if number % 7 == 3:
            del shares["Mali"]
        if number == num_questions - 1:
            shares = {"Chile": shares["Chile"]}
        given = {name: tuple(share.tolist()) for name, share in shares.items()}
        survey.append(SurveyQuestion(f"q{number}?", options, given))
    return survey


@pytest.fixture(scope="module")
def answers():
    return build_answers(make_survey())


@pytest.fixture(scope="module")
def chile(answers):
    return answers_of(answers, 0)[0]


def naive_distance(survey, other, train):
    pairs = [
        jensenshannon(survey[q].shares["Chile"], survey[q].shares[other], base=2)
        for q in train
        if other in survey[q].shares
    ]
    everyone = [
        jensenshannon(survey[q].shares["Chile"], survey[q].shares[name], base=2)
        for q in train
        for name in survey[q].shares
        if name != "Chile"
    ]
    return (sum(pairs) + 10 * np.mean(everyone)) / (len(pairs) + 10)


def test_distance_average_and_answer_are_those_of_the_formulas(chile):
    survey, train = make_survey(), np.arange(3, 18)
    others = ("Ghana", "Mali", "Peru")
    expected = [naive_distance(survey, name, train) for name in others]
    distance = kin_distances(chile.distances(), train)
    np.testing.assert_allclose(distance, expected)
    average = kin_average(chile, distance, 20.0)
    rewards = np.random.default_rng(1).normal(size=average.shape)
    answer = kin_answer(chile, average, rewards, 0.4)
    weight = {n: np.exp(-20 * (d - min(expected))) for n, d in zip(others, expected, strict=True)}
    for number in range(29):
        shares = survey[number].shares
        total = sum(weight[name] for name in others if name in shares)
        mixed = sum(weight[n] * np.array(shares[n]) for n in others if n in shares) / total
        size = len(mixed)
        np.testing.assert_allclose(average[number, :size], mixed)
        raw = np.exp(np.log(np.maximum(mixed, 1e-4)) + 0.4 * rewards[number, :size])
        np.testing.assert_allclose(answer[number, :size], raw / raw.sum())
        assert not answer[number, size:].any()


def test_a_question_of_nobody_else_has_the_model_s_own_answer(chile):
    average = kin_average(chile, np.zeros(3), 5.0)
    rewards = np.zeros_like(average)
    rewards[-1, 0] = np.log(3.0)
    options = chile.options[-1].sum()
    own = kin_answer(chile, average, rewards, 0.0)[-1]
    np.testing.assert_allclose(own[0], 3 / (3 + options - 1))
    alone = kin_answer(chile, average, None, 0.0)[-1]
    np.testing.assert_allclose(alone[:options], 1 / options)


def test_no_kinship_is_the_plain_average(chile):
    average = kin_average(chile, np.array([0.1, 0.9, 0.4]), 0.0)
    known = chile.asked
    np.testing.assert_allclose(
        average[:-1], (chile.others.sum(0) / np.maximum(known.sum(0), 1)[:, None])[:-1]
    )


def test_the_choice_finds_kin_and_leaves_out_a_useless_model(chile):
    seen = np.arange(29)
    held = deal_questions(30, 3, seed=0)
    noise = np.random.default_rng(2).normal(scale=5, size=chile.own.shape)
    chosen = choose_kin(chile, chile.distances(), noise, held, seen)
    assert chosen.kappa >= 20.0
    assert chosen.gamma == 0.0
    knows = np.log(np.maximum(chile.own, 1e-6)) * 3
    assert choose_kin(chile, chile.distances(), knows, held, seen).gamma > 0


@pytest.mark.parametrize("part", ["test", "all"])
def test_an_answer_that_is_judged_is_never_looked_at(answers, part):
    """Another share of one judged answer changes that answer's score, by its share alone."""
    rng = np.random.default_rng(3)
    side = np.where(answers.country == 0, part, "")
    if part == "test":
        chile = np.flatnonzero(answers.country == 0)
        side = side.astype("<U10")
        side[chile[8:]] = np.where(np.arange(len(chile) - 8) % 3, "train", "validation")
    labels = parse_labels(["global", "Chile/x"], COUNTRIES)
    shape = (30, answers.shares.shape[1])
    rewards = {label.name: rng.normal(size=shape) for label in labels}
    rows = kin_rows(labels, rewards, answers, side, part)
    assert [row.name for row in rows] == ["kin-weighted others", "kin + global", "kin + own x"]
    assert {row.kind for row in rows} == {"kin"}
    changed = answers.shares.copy()
    at = np.flatnonzero(side == part)[2]
    changed[at, :2] = changed[at, 1::-1]
    other = type(answers)(
        answers.countries, answers.country, answers.question, changed, answers.num_options
    )
    if part == "test":
        again = kin_rows(labels, rewards, other, side, part)
        for one, two in zip(rows, again, strict=True):
            keep = np.arange(len(one.scores)) != 2
            np.testing.assert_array_equal(one.scores[keep], two.scores[keep])
            assert one.scores[2, 0] != two.scores[2, 0]


def test_models_of_some_countries_make_a_row_of_those_alone(answers):
    labels = parse_labels(["Mali"], COUNTRIES)
    shape = (30, answers.shares.shape[1])
    rows = kin_rows(
        labels, {"Mali": np.zeros(shape)}, answers, np.full(len(answers.country), "all"), "all"
    )
    own = next(row for row in rows if row.name == "kin + own")
    np.testing.assert_array_equal(~np.isnan(own.scores[:, 0]), answers.country == 2)


def test_labels_of_kin_rows_are_refused():
    for name in ("kin-weighted others", "kin + x"):
        with pytest.raises(ValueError, match="Models must not be called"):
            parse_labels([name], COUNTRIES)
    assert parse_labels(["kindly"], COUNTRIES)[0].country is None


def test_folds_are_of_like_sizes():
    assert np.bincount(deal_questions(11, 3, seed=4)).tolist() == [4, 4, 3]


def test_shapes():
    others = OthersAnswers(np.eye(2), np.zeros((1, 2, 2)), np.ones((2, 2), bool))
    assert np.isnan(others.distances()).all()
    assert kin_distances(others.distances(), np.arange(2)).tolist() == [0.0]
