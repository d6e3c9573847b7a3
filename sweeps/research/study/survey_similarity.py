"""How near each arm comes to the shares of people, on questions that its heads never saw.

A country's questions and answers come from its interactions (responses are options, scores the
shares); what other countries answered comes from theirs. Each reward array gives two rows: with
T = 1, and with T fitted to the other countries' answers alone.

Legend: Q questions of the country, K the most options, U options of all of them.
"""

from collections import defaultdict
from dataclasses import dataclass

import pyarrow as pa

from scpo.arrays import FloatArray, IntArray
from scpo.countries.country_data import rows_of
from scpo.data.sources.global_opinions import SurveyQuestion
from scpo.opinions.answers import (
    arrange_rewards,
    average_of_others,
    build_answers,
    option_probabilities,
    score_answers,
    uniform_answer,
)
from scpo.opinions.kin_rows import answers_of
from scpo.opinions.kinship import OthersAnswers
from scpo.opinions.temperature import fit_temperature, other_shares

AVERAGE = "average of others"
AT_ONE = " (T = 1)"  # after an arm's name: its rewards as they are


@dataclass(frozen=True)
class Survey:
    """A country's answers."""

    names: tuple[str, ...]  # of each question without the country, Q of them
    num_options: IntArray  # shape (Q,)
    shares: FloatArray  # of people by option, shape (Q, K), 0 where there is no option
    others: FloatArray  # sum of the other countries' shares, shape (Q, K)
    baselines: dict[str, FloatArray]  # what no model predicts, each of shape (Q, K)
    kin: OthersAnswers  # the same answers beside those of each other country


def survey_of(table: pa.Table, country: str) -> Survey:
    """Return a country's answers from all interactions, questions in the order of its rows."""
    asked: dict[tuple[str, tuple[str, ...]], dict[str, tuple[float, ...]]] = defaultdict(dict)
    columns = [table[name].to_pylist() for name in ("country", "prompt", "responses", "scores")]
    for owner, prompt, options, shares in zip(*columns, strict=True):
        asked[prompt, tuple(options)][owner] = shares
    mine = rows_of(table, [country]).to_pylist()
    questions = [(row["prompt"], tuple(row["responses"])) for row in mine]
    answers = build_answers([SurveyQuestion(*each, asked[each]) for each in questions])
    number = answers.countries.index(country)
    own = answers.country == number
    return Survey(
        tuple(row["user_id"].removeprefix(f"{country}/") for row in mine),
        answers.num_options,
        answers.shares[own],
        other_shares(answers, number),
        {"uniform": uniform_answer(answers)[own], AVERAGE: average_of_others(answers)[own]},
        answers_of(answers, number)[0],
    )


def baseline_similarity(survey: Survey, reference: FloatArray) -> dict[str, FloatArray]:
    """Return the scores, each of shape (Q, 3), of what no training on the country makes.

    `reference` is the global model's reward of each option, shape (U,).
    """
    scores = {name: score_answers(each, survey.shares) for name, each in survey.baselines.items()}
    return scores | arm_similarity(survey, "global", reference)


def arm_similarity(survey: Survey, arm: str, rewards: FloatArray) -> dict[str, FloatArray]:
    """Return the scores of one arm, T fitted and T = 1, each of shape (Q, 3).

    `rewards` of the options, shape (U,), are each by a head that did not see its question.
    """
    matrix = arrange_rewards(rewards, survey.num_options)
    fitted = fit_temperature(matrix, survey.others) if survey.others.any() else 1.0
    return {
        name: score_answers(option_probabilities(matrix, temperature=T), survey.shares)
        for name, T in ((arm, fitted), (arm + AT_ONE, 1.0))
    }
