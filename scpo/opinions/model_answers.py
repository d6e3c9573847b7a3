"""Reward models answering a survey: labels and folders come in, scored rows go out.

A label says whose model it is: "Mexico" is Mexico's model, "Mexico/scpo" its model of arm scpo,
any other name (such as "global") a model for everyone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scpo.arrays import BoolArray, FloatArray, IntArray
from scpo.choices import Precision
from scpo.countries.prefixed import prefixed_prompts
from scpo.countries.scoring import score_texts
from scpo.data.reading.countries import canonical_country, nearest_names, refuse_misspelt
from scpo.data.sources.global_opinions import SurveyQuestion
from scpo.models.reward_model import RewardModel
from scpo.opinions.answers import (
    Answers,
    arrange_rewards,
    average_answer,
    average_of_others,
    option_probabilities,
    score_answers,
    uniform_answer,
)
from scpo.opinions.kinship import KIN
from scpo.opinions.opinion_scores import Kind, ScoredRow
from scpo.opinions.temperature import fit_temperature, other_shares
from scpo.tokens.encoding import encode_texts


@dataclass(frozen=True)
class ModelLabel:
    """A label as given, its country (None for a model for all), and its arm, perhaps ""."""

    name: str
    country: str | None
    arm: str


def parse_labels(names: Sequence[str], countries: Sequence[str]) -> list[ModelLabel]:
    """Return labels split into a country of the survey and an arm.

    Raises:
        ValueError: An arm of no country of the survey, a name that looks like a misspelt
            country, two models of one country and arm, or a name that belongs to a row that is
            always made.
    """
    labels: list[ModelLabel] = []
    for name in names:
        head, slash, arm = name.partition("/")
        country = canonical_country(head)
        if country not in countries:
            country = None
        if slash and country is None:
            near = "".join(f" Did you mean {each!r}?" for each in nearest_names(head, countries))
            raise ValueError(
                f"A label with an arm is COUNTRY/ARM, but {head!r} is no country of the survey."
                + near
            )
        if country is None:
            refuse_misspelt(head, countries)
        labels.append(ModelLabel(name, country, arm))
    keys = [(item.country, item.arm) if item.country else item.name for item in labels]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise ValueError(f"One model a label must hold, but there are several of {twice}.")
    arms = list_arms(labels)
    made = {*_baselines(), *(f"own{arm}" for arm in arms), *(f"others{arm}" for arm in arms)}
    made |= {KIN, *(name for name in names if name.startswith("kin + "))}
    if made & set(names):
        raise ValueError(f"Models must not be called {sorted(made & set(names))}; rename them.")
    return labels


def score_options(
    reward: RewardModel,
    questions: Sequence[SurveyQuestion],
    *,
    max_tokens: int,
    precision: Precision = "auto",
) -> FloatArray:
    """Return a model's reward of each option as the answer to its question, shape (Q, K).

    The text of an option is the response, without its letter and without the other options.

    Raises:
        RuntimeError: A reward is not finite.
        ValueError: `max_tokens` out of range, or the model needs a country in its prompts.
    """
    asked = [item.question for item in questions for _ in item.options]
    prompts = prefixed_prompts(reward.facts, asked)
    responses = [option for item in questions for option in item.options]
    texts = encode_texts(reward.tokenizer, prompts, responses, max_tokens=max_tokens)
    rewards = score_texts(reward, texts, np.arange(len(texts)), precision=precision)
    return arrange_rewards(rewards, np.array([len(item.options) for item in questions]))


def fit_temperatures(rewards: FloatArray, answers: Answers) -> FloatArray:
    """Return a model's temperature for each country, fitted without it, shape (countries,).

    Raises:
        ValueError: A country is alone.
    """
    positions = range(len(answers.countries))
    return np.array([fit_temperature(rewards, other_shares(answers, each)) for each in positions])


def baseline_rows(answers: Answers, judged: IntArray) -> list[ScoredRow]:
    """Return the rows that need no model: uniform, the average of all and of other countries.

    `judged` are the positions of the answers that are judged.
    """
    return [
        ScoredRow(name, "baseline", score_answers(predict(answers), answers.shares)[judged])
        for name, predict in _baselines().items()
    ]


def model_row(
    label: ModelLabel,
    rewards: FloatArray,
    temperatures: FloatArray,
    answers: Answers,
    judged: IntArray,
) -> ScoredRow:
    """Return the row of one model on every judged answer.

    `rewards` are those of each option, shape (Q, K), `temperatures` one a country, shape
    (countries,); `judged` are positions among all answers.
    """
    which = answers.question[judged]
    predicted = option_probabilities(
        rewards[which], temperature=temperatures[answers.country[judged]]
    )
    return ScoredRow(label.name, "model", score_answers(predicted, answers.shares[judged]))


def own_and_others(
    labels: Sequence[ModelLabel], rows: Sequence[ScoredRow], country_of: Sequence[str]
) -> list[ScoredRow]:
    """Return two rows an arm: each country's model on its own country, and on the others.

    The rows of all models are among `rows`; `country_of` is the country of each judged answer.
    """
    made = []
    by_label = {row.name: row.scores for row in rows}
    names = np.asarray(country_of)
    for arm in list_arms(labels):
        models = [label for label in labels if label.country and label.arm == arm.strip()]
        scores = np.stack([by_label[label.name] for label in models])
        is_own = np.array([names == label.country for label in models])[:, :, np.newaxis]
        masks: dict[Kind, BoolArray] = {"own": ~is_own, "others": is_own}
        for kind, mask in masks.items():
            known = np.ma.array(scores, mask=np.broadcast_to(mask, scores.shape))
            made.append(ScoredRow(f"{kind}{arm}", kind, known.mean(axis=0).filled(np.nan)))
    return [row for row in made if not np.isnan(row.scores).all()]


def list_arms(labels: Sequence[ModelLabel]) -> list[str]:
    """Return the arms of countries' models in their order, with a space before a name."""
    return list(dict.fromkeys(f" {item.arm}".rstrip() for item in labels if item.country))


def _baselines() -> dict[str, Callable[[Answers], FloatArray]]:
    return {
        "uniform": uniform_answer,
        "average": average_answer,
        "average of others": average_of_others,
    }
