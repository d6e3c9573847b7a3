"""How near each arm comes to the shares of people, on questions that its heads never saw.

A country's questions and answers come from its interactions (responses are options, scores the
shares); what other countries answered comes from theirs. Each reward array gives two rows: with
T = 1, and with T fitted to the other countries' answers alone.

Legend: Q questions of the country, K the most options, U options of all of them.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from scpo.arrays import FloatArray, IntArray
from scpo.countries.country_data import rows_of
from scpo.opinions.answers import arrange_rewards, option_probabilities, score_answers
from scpo.opinions.temperature import fit_temperature

AVERAGE = "average of others"
AT_ONE = " (T = 1)"  # after an arm's name: its rewards as they are


@dataclass(frozen=True)
class Survey:
    """A country's answers."""

    names: tuple[str, ...]  # of each question without the country, Q of them
    num_options: IntArray  # shape (Q,)
    shares: FloatArray  # of people by option, shape (Q, K), 0 where there is no option
    others: FloatArray  # sum of the other countries' shares, shape (Q, K)
    num_others: IntArray  # countries in that sum, shape (Q,)


def survey_of(table: pa.Table, country: str) -> Survey:
    """Return a country's answers from all interactions, questions in the order of its rows."""
    answers = defaultdict(list)
    columns = [table[name].to_pylist() for name in ("country", "prompt", "responses", "scores")]
    for owner, prompt, options, shares in zip(*columns, strict=True):
        if owner != country:
            answers[prompt, tuple(options)].append(dict(zip(options, shares, strict=True)))
    mine = rows_of(table, [country]).to_pylist()
    num_options = np.array([len(row["responses"]) for row in mine], dtype=np.int64)
    shape = (len(mine), int(num_options.max()))
    shares, others = np.zeros(shape), np.zeros(shape)
    num_others = np.zeros(len(mine), dtype=np.int64)
    for number, row in enumerate(mine):
        shares[number, : num_options[number]] = row["scores"]
        given = answers.get((row["prompt"], tuple(row["responses"])), [])
        num_others[number] = len(given)
        for answer in given:
            others[number, : num_options[number]] += [answer[each] for each in row["responses"]]
    names = tuple(row["user_id"].removeprefix(f"{country}/") for row in mine)
    return Survey(names, num_options, shares, others, num_others)


def baseline_similarity(survey: Survey, reference: FloatArray) -> dict[str, FloatArray]:
    """Return the scores, each of shape (Q, 3), of what no training on the country makes.

    `reference` is the global model's reward of each option, shape (U,).
    """
    is_option = np.arange(survey.shares.shape[1]) < survey.num_options[:, None]
    uniform = is_option / survey.num_options[:, None]
    asked = survey.num_others[:, None]
    average = np.where(asked > 0, survey.others / np.maximum(asked, 1), uniform)
    return {
        "uniform": score_answers(uniform, survey.shares),
        AVERAGE: score_answers(average, survey.shares),
        **arm_similarity(survey, "global", reference),
    }


def arm_similarity(survey: Survey, arm: str, rewards: FloatArray) -> dict[str, FloatArray]:
    """Return the scores of one arm, T fitted and T = 1, each of shape (Q, 3).

    `rewards` of the options, shape (U,), are each by a head that did not see its question.
    """
    matrix = arrange_rewards(rewards, survey.num_options)
    fitted = fit_temperature(matrix, survey.others) if survey.num_others.any() else 1.0
    return {
        name: score_answers(option_probabilities(matrix, temperature=T), survey.shares)
        for name, T in ((arm, fitted), (arm + AT_ONE, 1.0))
    }
