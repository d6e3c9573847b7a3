"""Made-up rows in the layouts of PRISM and GlobalOpinionQA under their hub names.

The texts and scores are those of the synthetic cultures, told in the columns of the hub's files;
no row of the real data sets is here. Some rows have their dirt: users without a country or
without a conversation, countries in other spellings, answers that are "DK/Refused".
"""

import csv
import io
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from scpo.config import SyntheticConfig
from scpo.data.sources.synthetic import make_synthetic
from tests.hub.repositories import Repository

PRISM = "HannahRoseKirk/prism-alignment"
OPINIONS = "Anthropic/llm_global_opinions"
COUNTRIES = (
    *("Chile", "South Africa", "New Zealand", "Australia", "Mexico", "Israel", "Canada"),
    *("United States", "United Kingdom"),
)
USERS_PER_COUNTRY = 10
INTERACTIONS_PER_USER = 4

PRISM_CARD = """---
license: cc
configs:
- config_name: survey
  data_files: "survey.jsonl"
- config_name: utterances
  data_files: "utterances.jsonl"
---
Made-up rows in PRISM's columns.
"""
OPINIONS_CARD = """---
license: cc-by-nc-sa-4.0
---
Made-up rows in GlobalOpinionQA's columns.
"""


def publish_data_sets(root: Path) -> None:
    """Publish both data sets in a hub's folder, one commit each."""
    survey, utterances = make_prism()
    files = {
        "README.md": PRISM_CARD.encode(),
        "survey.jsonl": _to_jsonl(survey),
        "utterances.jsonl": _to_jsonl(utterances),
    }
    Repository(root, "datasets", PRISM).publish(files)
    files = {
        "README.md": OPINIONS_CARD.encode(),
        "data/global_opinions.csv": _to_csv(make_opinions()),
    }
    Repository(root, "datasets", OPINIONS).publish(files)


def make_prism() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of PRISM's survey and of its utterances.

    Each country has 10 users with 4 interactions each: two conversations of a first turn with
    four responses and a second with two. The survey also lists a user who does not say where
    they live and one who was never in a conversation.
    """
    world = make_synthetic(
        SyntheticConfig(
            num_countries=len(COUNTRIES),
            users_per_country=USERS_PER_COUNTRY,
            interactions_per_user=INTERACTIONS_PER_USER,
            seed=5,
        )
    ).interactions.to_pylist()
    country_of = dict(zip(dict.fromkeys(row["country"] for row in world), COUNTRIES, strict=True))
    users = {row["user_id"]: country_of[row["country"]] for row in world}
    number_of = {user: number for number, user in enumerate(users)}
    survey = [_survey_row(number_of[user], country) for user, country in users.items()]
    survey.append(_survey_row(len(users), "Prefer not to say"))
    survey.append(_survey_row(len(users) + 1, "Chile") | {"survey_only": True})
    utterances: list[dict[str, Any]] = []
    for number, row in enumerate(world):
        turn = number % 2
        shown = 2 if turn else len(row["responses"])
        for place in range(shown):
            utterances.append(
                _utterance_row(
                    len(utterances), number, turn, place, number_of[row["user_id"]], row
                )
            )
    return survey, utterances


def make_opinions() -> list[dict[str, str]]:
    """Return the rows of GlobalOpinionQA: 24 questions with the shares of each country."""
    rng = np.random.default_rng(6)
    labels = {"South Africa": "S. Africa", "United Kingdom": "Britain"}
    subjects = ("music", "trains", "schools", "markets", "gardens", "sport", "theatre", "news")
    asked = {
        "How important is": [
            "Very important",
            "Somewhat important",
            "Not important",
            "DK/Refused",
        ],
        "Would you pay for": ["Yes", "No"],
        "How will you find": ["Better", "About the same", "Worse"],
    }
    rows = []
    for subject in subjects:
        for ask, options in asked.items():
            shares = {
                labels.get(country, country): rng.dirichlet(np.ones(len(options)))
                .round(4)
                .tolist()
                for country in COUNTRIES
            }
            rows.append(
                {
                    "question": f"{ask} {subject} in your country?",
                    "selections": str(defaultdict(list, shares)),
                    "options": str(options),
                    "source": "GAS",
                }
            )
    return rows


def _survey_row(number: int, country: str) -> dict[str, Any]:
    """Return one row of the survey: a part of its columns."""
    known = country != "Prefer not to say"
    return {
        "user_id": f"user{number}",
        "survey_only": False,
        "num_completed_conversations": 2,
        "consent": "Yes, I consent to take part",
        "age": "25-34 years old",
        "location": {
            "birth_country": country,
            "reside_country": country,
            "reside_countryISO": country[:3].upper() if known else None,
            "same_birth_reside_country": "Yes" if known else "Prefer not to say",
        },
        "included_in_balanced_subset": number % 2 == 0,
    }


def _utterance_row(
    number: int, interaction: int, turn: int, place: int, user: int, row: dict[str, Any]
) -> dict[str, Any]:
    """Return one row of the utterances: one response with its score."""
    scores = row["scores"]
    shown = scores[:2] if turn else scores
    return {
        "utterance_id": f"ut{number}",
        "interaction_id": f"int{interaction}",
        "conversation_id": f"c{interaction // 2}",
        "user_id": f"user{user}",
        "turn": turn,
        "within_turn_id": place,
        "conversation_type": ("unguided", "values guided", "controversy guided")[interaction % 3],
        "user_prompt": row["prompt"],
        "model_response": row["responses"][place],
        "model_name": f"model-{place}",
        "model_provider": "made up",
        "score": int(np.clip(round(scores[place]), 1, 100)),
        "if_chosen": scores[place] == max(shown),
    }


def _to_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _to_csv(rows: list[dict[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
