"""Layouts of several scored responses: every two with different scores give a pair.

Nectar (ranks) and UltraFeedback hold all responses of a prompt in one row. HelpSteer2 and TRL's
unpaired layout hold one response a row; rows of one prompt (and user and country) belong together.
"""

import json
from collections.abc import Iterator
from typing import Any

from scpo.data.layouts.layout import (
    Layout,
    NumberedRows,
    RawRow,
    make_rated_pairs,
    take_choice,
    take_items,
    take_number,
)

_LABELS = {True: 1.0, False: 0.0, "true": 1.0, "false": 0.0, "True": 1.0, "False": 0.0}
_GATHERED = "responses of this prompt"
_WITHIN = ("prompt", "user", "country")  # rows that agree in these are of one judgement


def nectar(row: RawRow) -> list[dict[str, Any]]:
    """Return the pairs of a Nectar row: of two answers the lower rank is chosen."""
    answers = take_items(row, "answers")
    rated = [(each.get("answer"), -take_number(each, "rank")) for each in answers]
    return make_rated_pairs(row["prompt"], rated)


def ultrafeedback(row: RawRow) -> list[dict[str, Any]]:
    """Return the pairs of an UltraFeedback row by `overall_score`, else `fine-grained_score`."""
    rated = []
    for each in take_items(row, "completions"):
        has_overall = each.get("overall_score") is not None
        score = take_number(each, "overall_score" if has_overall else "fine-grained_score")
        rated.append((each.get("response"), score))
    return make_rated_pairs(row["instruction"], rated)


def helpsteer_2_ratings(row: RawRow) -> list[dict[str, Any]]:
    """Return the pairs of gathered HelpSteer2 rows by `helpfulness`."""
    rated = [(each["response"], take_number(each, "helpfulness")) for each in row[_GATHERED]]
    return make_rated_pairs(row["prompt"], rated)


def unpaired(row: RawRow) -> list[dict[str, Any]]:
    """Return the pairs of gathered rows of TRL's unpaired layout: each good with each bad one."""
    rated = [(each["completion"], take_choice(each, "label", _LABELS)) for each in row[_GATHERED]]
    return [_without_scores(pair) for pair in make_rated_pairs(row["prompt"], rated)]


def gather_prompts(rows: NumberedRows) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield one row for all that ask one prompt, with them in it, under the line of the first."""
    gathered: dict[str, tuple[int, dict[str, Any]]] = {}
    for line, row in rows:
        key = json.dumps([row.get(name) for name in _WITHIN], default=str)
        first = gathered.setdefault(key, (line, {**row, _GATHERED: []}))
        first[1][_GATHERED].append(row)
    yield from gathered.values()


MANY_RESPONSES = (
    Layout("nectar", frozenset({"prompt", "answers"}), nectar),
    Layout("ultrafeedback", frozenset({"instruction", "completions"}), ultrafeedback),
    Layout(
        "helpsteer2",
        frozenset({"prompt", "response", "helpfulness"}),
        helpsteer_2_ratings,
        gather=gather_prompts,
    ),
    Layout(
        "unpaired",
        frozenset({"prompt", "completion", "label"}),
        unpaired,
        gather=gather_prompts,
    ),
)


def _without_scores(pair: dict[str, Any]) -> dict[str, Any]:
    """Return a pair without scores: two labels are no measure."""
    return {name: pair[name] for name in ("prompt", "chosen", "rejected")}
