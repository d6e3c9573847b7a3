"""Option pairs from a survey: GlobalOpinionQA comes in, an interactions table goes out.

The prompt is the question, the responses are its options, and their scores are the shares of a
country's people: options i and j give a pair where share_i > share_j. Training on it goes the same
road as on PRISM.
"""

from collections.abc import Iterable

import pyarrow as pa

from scpo.data.interactions import INTERACTIONS_SCHEMA
from scpo.data.sources.global_opinions import SurveyQuestion
from scpo.data.sources.pairs_file import hash_texts


def make_opinion_interactions(survey: Iterable[SurveyQuestion]) -> pa.Table:
    """Return a survey as interactions whose responses, the options, are scored by their shares.

    Returns:
        Table of `INTERACTIONS_SCHEMA`, one row per country and question. The user is the question
        in that country (`question_user`), so a split by user is a split by question. What is
        held out so is the country's own answer: other countries' answers to the same question
        may be trained on.
    """
    made = [
        {
            "interaction_id": hash_texts(country, item.question, *item.options)[:16],
            "user_id": question_user(country, item.question),
            "country": country,
            "prompt": item.question,
            "responses": list(item.options),
            "scores": list(shares),
            "turn": 0,
            "unit": "question",
        }
        for item in survey
        for country, shares in item.shares.items()
    ]
    return pa.Table.from_pylist(made, schema=INTERACTIONS_SCHEMA)


def question_user(country: str, question: str) -> str:
    """Return the user id that stands for a question in a country, whatever its options."""
    return f"{country}/question-{hash_texts(question)[:12]}"
