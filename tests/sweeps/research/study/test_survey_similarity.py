"""Nearness to a survey, from answers written out by hand."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

from scpo.data.sources.global_opinions import SurveyQuestion
from scpo.data.sources.opinion_pairs import make_opinion_interactions
from scpo.opinions.temperature import fit_temperature
from sweeps.research.study.survey_similarity import arm_similarity, baseline_similarity, survey_of
from sweeps.research.study_page.survey_table import (
    similarity_records,
    similarity_remark,
    similarity_table,
)

SURVEY = [
    SurveyQuestion("Tea?", ("yes", "no"), {"Chile": (0.7, 0.3), "Peru": (0.2, 0.8)}),
    SurveyQuestion(
        "Rain?",
        ("a", "b", "c"),
        {"Chile": (0.5, 0.2, 0.3), "Peru": (0.1, 0.6, 0.3), "Mexico": (0.3, 0.3, 0.4)},
    ),
    SurveyQuestion("Alone?", ("x", "y"), {"Chile": (0.9, 0.1)}),
]
TABLE: pa.Table = make_opinion_interactions(SURVEY)


def js(first: list[float], second: list[float], base: float) -> float:
    return 1 - jensenshannon(first, second, base=base)


def test_answers_of_the_country_and_of_the_others() -> None:
    survey = survey_of(TABLE, "Chile")
    assert survey.num_options.tolist() == [2, 3, 2]
    assert survey.shares.tolist() == [[0.7, 0.3, 0], [0.5, 0.2, 0.3], [0.9, 0.1, 0]]
    assert survey.others == pytest.approx(np.array([[0.2, 0.8, 0], [0.4, 0.9, 0.7], [0, 0, 0]]))
    average = np.array([[0.2, 0.8, 0], [0.2, 0.45, 0.35], [0.5, 0.5, 0]])  # nobody: uniform
    assert survey.baselines["average of others"] == pytest.approx(average)
    assert len(set(survey.names)) == 3
    assert survey_of(TABLE, "Peru").names == survey.names[:2]


def test_rows_of_a_country() -> None:
    survey = survey_of(TABLE, "Chile")
    rewards = np.array([1.0, 0.0, 0.5, -0.5, 0.0, 2.0, 0.0])
    rows = baseline_similarity(survey, rewards)
    assert list(rows) == ["uniform", "average of others", "global", "global (T = 1)"]
    assert rows["uniform"][0, 0] == pytest.approx(js([0.5, 0.5], [0.7, 0.3], 2))
    expected = js([0.2, 0.45, 0.35], [0.5, 0.2, 0.3], np.e)
    assert rows["average of others"][1, 1] == pytest.approx(expected)
    assert rows["average of others"][2] == pytest.approx(rows["uniform"][2])  # nobody else asked
    at_one = js(softmax([1.0, 0.0]).tolist(), [0.7, 0.3], 2)
    assert rows["global (T = 1)"][0, 0] == pytest.approx(at_one)
    matrix = np.array([[1.0, 0.0, -np.inf], [0.5, -0.5, 0.0], [2.0, 0.0, -np.inf]])
    temperature = fit_temperature(matrix, survey.others)
    fitted = js(softmax(np.array([1.0, 0.0]) / temperature).tolist(), [0.7, 0.3], 2)
    assert rows["global"][0, 0] == pytest.approx(fitted)


def test_the_temperature_does_not_see_the_country() -> None:
    rewards = np.array([1.0, 0.0, 0.5, -0.5, 0.0, 2.0, 0.0])
    changed = [
        SurveyQuestion(q.question, q.options, {**q.shares, "Chile": q.shares["Chile"][::-1]})
        for q in SURVEY
    ]
    before, after = (
        survey_of(TABLE, "Chile"),
        survey_of(make_opinion_interactions(changed), "Chile"),
    )
    middle = np.array([[0.5, 0.5, 0], [0.2, 0.3, 0.5], [0.5, 0.5, 0]])
    scores = [arm_similarity(replace(s, shares=middle), "a", rewards) for s in (before, after)]
    assert scores[0]["a"] == pytest.approx(scores[1]["a"])


def cell(country: str, full: float, world: float) -> dict:
    survey = survey_of(TABLE, country)
    size = (len(survey.names), 3)
    similarity = {"global": np.full(size, world).tolist(), "full": np.full(size, full).tolist()}
    return {"country": country, "questions": list(survey.names), "similarity": similarity}


def test_means_over_questions_and_countries() -> None:
    cells = [cell("Chile", 0.8, 0.6), cell("Peru", 0.7, 0.6)]
    found = {(r.row, r.over): r for r in similarity_records(cells, "global")}
    over_questions = found["full", "questions"]
    expected = (0.75 + 0.75 + 0.8) / 3  # two questions of both countries, one of Chile alone
    assert over_questions.figures["similarity_base2"].value == pytest.approx(expected)
    assert found["full", "countries"].figures["similarity_base2"].value == pytest.approx(0.75)
    assert over_questions.against_reference.value == pytest.approx(expected - 0.6)
    assert over_questions.questions == 3
    text = similarity_table(cells)
    assert "| full | 0.767 (" in text
    assert "| global | 0.600 (0.600 to 0.600) |" in text


@pytest.mark.parametrize(
    ("average", "words"),
    [
        (0.9, "No arm comes as near to the survey as the plain average"),
        (0.5, "An arm is nearer to the survey than the plain average"),
        (0.8, "No arm is told apart from the plain average"),
    ],
)
def test_the_nearest_arm_beside_the_average_of_others(average: float, words: str) -> None:
    cells = [cell("Chile", 0.8, 0.6)]
    cells[0]["similarity"]["average of others"] = np.full((3, 3), average).tolist()
    said = similarity_remark(cells)
    assert said.startswith(words)
    difference = "0.000" if average == 0.8 else f"{0.8 - average:+.3f}"
    assert f"the nearest, `full`, is {difference}" in said
