import csv
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from scpo.config import DataConfig
from scpo.data.interactions import INTERACTIONS_SCHEMA, read_interactions
from scpo.data.pairs import build_pairs
from scpo.data.reading.bad_rows import BadRows
from scpo.data.sources.global_opinions import SurveyQuestion, read_global_opinions
from scpo.data.sources.opinion_pairs import (
    make_opinion_interactions,
    question_user,
)
from scpo.data.sources.prepare import CountryCounts, prepare_source
from scpo.data.splits import split_users

SURVEY = [
    SurveyQuestion(
        "Warm?", ("Yes", "No", "DK"), {"Chile": (0.5, 0.25, 0.25), "Peru": (0.1, 0.2, 0.7)}
    ),
    SurveyQuestion("Warm?", ("Yes", "No"), {"Chile": (0.4, 0.6)}),
]


def test_a_row_is_a_country_and_a_question() -> None:
    table = make_opinion_interactions(SURVEY)
    assert table.schema == INTERACTIONS_SCHEMA
    first, peru, second = table.to_pylist()
    assert first == {
        "interaction_id": first["interaction_id"],
        "user_id": question_user("Chile", "Warm?"),
        "country": "Chile",
        "prompt": "Warm?",
        "responses": ["Yes", "No", "DK"],
        "scores": [0.5, 0.25, 0.25],
        "comparisons": None,
        "margins": None,
        "turn": 0,
        "unit": "question",
        "messages": None,
        "vetted": None,
        "prompt_prefix": None,
    }
    assert len({row["interaction_id"] for row in (first, peru, second)}) == 3
    assert first["user_id"] == second["user_id"] != peru["user_id"]


def test_pairs_are_those_of_larger_shares() -> None:
    table = make_opinion_interactions(SURVEY)
    pairs = build_pairs(table)
    texts = [(row["country"], text) for row in table.to_pylist() for text in row["responses"]]
    made = {(*texts[a], texts[b][1]) for a, b in zip(pairs.chosen, pairs.rejected, strict=True)}
    assert len(pairs) == 6
    assert made == {
        ("Chile", "Yes", "No"),
        ("Chile", "Yes", "DK"),
        ("Peru", "No", "Yes"),
        ("Peru", "DK", "Yes"),
        ("Peru", "DK", "No"),
        ("Chile", "No", "Yes"),
    }


def test_prepared_like_any_source(tmp_path: Path) -> None:
    file = tmp_path / "opinions.csv"
    with file.open("w", newline="") as handle:
        csv.writer(handle).writerows(
            [
                ("question", "selections", "options"),
                ("Warm?", "defaultdict(<class 'list'>, {'S. Korea': [0.5, 0.5]})", "['a', 'b']"),
                ("Cold?", "{'S. Korea': [0.3, 0.3, 0.4], 'UK': [0.1]}", "['a', 'b', 'c']"),
            ]
        )
    summary = prepare_source(DataConfig(source="opinions", path=str(file)), tmp_path / "out")
    assert summary.countries == {
        "South Korea": CountryCounts(users=2, interactions=2, responses=5, pairs=2, ties=2)
    }
    assert summary.rejected == {"shares_do_not_fit": 1}
    assert list(summary.files) == [str(file)]
    assert read_interactions(tmp_path / "out")["prompt"].to_pylist() in (
        ["Warm?", "Cold?"],
        ["Cold?", "Warm?"],
    )


@pytest.mark.data
def test_real_questions_split_by_question(data_folder: Path) -> None:
    file = data_folder / "globalopinionqa" / "global_opinions_subset.csv"
    survey = read_global_opinions(file, BadRows())
    table = make_opinion_interactions(survey)
    expected = sum(
        first != second
        for item in survey
        for shares in item.shares.values()
        for first, second in combinations(shares, 2)
    )
    assert len(build_pairs(table)) == expected > 100_000
    sides = split_users(table, ["Mexico", "South Africa"])
    mexico = [sides[question_user("Mexico", q.question)] for q in survey if "Mexico" in q.shares]
    numbers = dict(zip(*np.unique(mexico, return_counts=True), strict=True))
    assert numbers == {"test": 41, "train": 194, "validation": 41}
