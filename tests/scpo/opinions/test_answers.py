import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

from scpo.data.sources.global_opinions import SurveyQuestion
from scpo.opinions.answers import (
    METRICS,
    arrange_rewards,
    average_answer,
    average_of_others,
    build_answers,
    js_similarity,
    option_probabilities,
    score_answers,
    sum_by_question,
    total_variation,
    uniform_answer,
)

SURVEY = [
    SurveyQuestion("A?", ("x", "y"), {"Chile": (0.5, 0.5), "Mali": (0.25, 0.75)}),
    SurveyQuestion("B?", ("x", "y", "z"), {"Chile": (0.2, 0.3, 0.5)}),
    SurveyQuestion(
        "C?", ("x", "y"), {"Chile": (1.0, 0.0), "Mali": (0.0, 1.0), "Peru": (0.5, 0.5)}
    ),
]


def draw(rng: np.random.Generator, rows: int, options: int) -> np.ndarray:
    """Distributions, some with options that nobody chose."""
    drawn = rng.dirichlet(np.full(options, 0.6), size=rows)
    drawn[rng.random(drawn.shape) < 0.2] = 0.0
    drawn[:, 0] += 1e-3
    return drawn / drawn.sum(axis=1, keepdims=True)


def test_answers_as_arrays() -> None:
    answers = build_answers(SURVEY)
    assert answers.countries == ("Chile", "Mali", "Peru")
    assert answers.country.tolist() == [0, 1, 0, 0, 1, 2]
    assert answers.question.tolist() == [0, 0, 1, 2, 2, 2]
    assert answers.num_options.tolist() == [2, 3, 2]
    assert answers.shares.tolist() == [
        [0.5, 0.5, 0.0],
        [0.25, 0.75, 0.0],
        [0.2, 0.3, 0.5],
        [1.0, 0.0, 0.0],
        [0.0, 1.0, 0.0],
        [0.5, 0.5, 0.0],
    ]
    sums, counts = sum_by_question(answers)
    assert sums.tolist() == [[0.75, 1.25, 0.0], [0.2, 0.3, 0.5], [1.5, 1.5, 0.0]]
    assert counts.tolist() == [2, 1, 3]


def test_no_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="One question at least"):
        build_answers([])


def test_baselines_by_hand() -> None:
    answers = build_answers(SURVEY)
    third = 1 / 3
    assert uniform_answer(answers) == pytest.approx(
        np.array([[0.5, 0.5, 0]] * 2 + [[third] * 3] + [[0.5, 0.5, 0]] * 3)
    )
    assert average_answer(answers) == pytest.approx(
        np.array([[0.375, 0.625, 0]] * 2 + [[0.2, 0.3, 0.5]] + [[0.5, 0.5, 0]] * 3)
    )
    assert average_of_others(answers) == pytest.approx(
        np.array(
            [
                [0.25, 0.75, 0],
                [0.5, 0.5, 0],
                [third] * 3,  # nobody else was asked
                [0.25, 0.75, 0],
                [0.75, 0.25, 0],
                [0.5, 0.5, 0],
            ]
        )
    )


def test_rewards_are_arranged_by_question() -> None:
    num_options = np.array([2, 3])
    assert arrange_rewards([1, 2, 3, 4, 5], num_options).tolist() == [[1, 2, -np.inf], [3, 4, 5]]
    with pytest.raises(ValueError, match="5 in all, but got the shape"):
        arrange_rewards([1, 2, 3], num_options)


@pytest.mark.parametrize("temperature", [0.05, 1.0, 30.0])
def test_choice_rule_is_a_softmax_over_the_options_there_are(temperature: float) -> None:
    rng = np.random.default_rng(0)
    num_options = rng.integers(2, 7, size=40)
    rewards = [rng.normal(scale=5, size=count) for count in num_options]
    made = option_probabilities(
        arrange_rewards(np.concatenate(rewards), num_options), temperature=temperature
    )
    for row, given in zip(made, rewards, strict=True):
        assert row[: len(given)] == pytest.approx(softmax(given / temperature), abs=1e-12)
        assert not row[len(given) :].any()


def test_choice_rule_at_the_ends() -> None:
    rewards = np.array([[1e5, 1e5 - 1, -1e5], [3.0, 3.0, -np.inf]])
    expected = [[1 / (1 + math.exp(-1)), 1 / (1 + math.e), 0.0], [0.5, 0.5, 0.0]]
    assert option_probabilities(rewards) == pytest.approx(np.array(expected))
    by_row = option_probabilities(np.array([[0.0, 2.0]] * 2), temperature=[1.0, 2.0])
    assert by_row[:, 1] == pytest.approx([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))])


def test_pairwise_odds_are_those_of_bradley_terry() -> None:
    rewards = np.array([0.3, -1.2, 2.0])
    chosen = option_probabilities(rewards)
    assert chosen[0] / (chosen[0] + chosen[1]) == pytest.approx(1 / (1 + math.exp(-1.5)))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_temperatures_out_of_range(temperature: float) -> None:
    with pytest.raises(ValueError, match="`0 < temperature < inf` must hold"):
        option_probabilities([0.0, 1.0], temperature=temperature)


@pytest.mark.parametrize("reward", [math.nan, math.inf])
def test_rewards_out_of_range(reward: float) -> None:
    with pytest.raises(ValueError, match="but 1 questions break this"):
        option_probabilities([[0.0, reward], [0.0, 1.0]])
    with pytest.raises(ValueError, match="but 1 questions break this"):
        option_probabilities([[-math.inf, -math.inf], [0.0, 1.0]])


@pytest.mark.parametrize("base", [2.0, math.e])
@pytest.mark.parametrize("options", [2, 4, 18])
def test_similarity_is_one_minus_scipys_distance(base: float, options: int) -> None:
    rng = np.random.default_rng(options)
    first, second = draw(rng, 500, options), draw(rng, 500, options)
    expected = [1 - jensenshannon(p, q, base) for p, q in zip(first, second, strict=True)]
    assert js_similarity(first, second, base=base) == pytest.approx(np.array(expected), abs=1e-9)


def test_similarity_at_the_ends() -> None:
    one, other = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert js_similarity(one, one).tolist() == [1.0]
    assert js_similarity(one, other).tolist() == pytest.approx([0.0], abs=1e-12)
    assert js_similarity(one, other, base=math.e)[0] == pytest.approx(1 - math.sqrt(math.log(2)))
    third = np.full((1, 3), 1 / 3)
    assert js_similarity(third, third).tolist() == [1.0]


def test_total_variation_by_hand() -> None:
    first = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    second = np.array([[0.25, 0.5, 0.25], [0.0, 0.0, 1.0], [0.2, 0.3, 0.5]])
    assert total_variation(first, second) == pytest.approx([0.25, 1.0, 0.0])


def test_options_that_are_not_there_change_nothing() -> None:
    rng = np.random.default_rng(3)
    first, second = draw(rng, 50, 4), draw(rng, 50, 4)
    wide = [np.pad(table, ((0, 0), (0, 3))) for table in (first, second)]
    assert score_answers(*wide) == pytest.approx(score_answers(first, second), abs=1e-15)


def test_random_targets_against_the_uniform_answer() -> None:
    targets = np.random.default_rng(0).dirichlet(np.ones(4), size=20_000)
    scores = score_answers(np.full_like(targets, 0.25), targets).mean(axis=0)
    by_metric = dict(zip(METRICS, scores, strict=True))
    assert by_metric["similarity_base2"] == pytest.approx(0.68, abs=0.01)
    assert by_metric["similarity_natural"] == pytest.approx(0.73, abs=0.01)


def test_shapes_must_be_equal() -> None:
    with pytest.raises(ValueError, match=r"but got \(2, 3\) and \(3,\)"):
        js_similarity(np.ones((2, 3)), np.ones(3))
    with pytest.raises(ValueError, match=r"but got \(2, 3\) and \(1, 3\)"):
        total_variation(np.ones((2, 3)), np.ones((1, 3)))
