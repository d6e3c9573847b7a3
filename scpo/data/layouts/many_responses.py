"""Layouts of several scored responses: every two with different scores give a pair.

Nectar (ranks) and UltraFeedback hold all responses of a prompt in one row. HelpSteer2 and TRL's
unpaired layout hold one response a row.
"""

from typing import Any

from scpo.data.layouts.layout import (
    FLAGS,
    RATED,
    Layout,
    RawRow,
    make_rated_pairs,
    take_choice,
    take_items,
    take_number,
)


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
    """Return the pairs of HelpSteer2 rows that belong together, by `helpfulness`."""
    return make_rated_pairs(row["prompt"], row[RATED])


def unpaired(row: RawRow) -> list[dict[str, Any]]:
    """Return the pairs of TRL's unpaired rows that belong together: each good, each bad one."""
    return [_without_scores(pair) for pair in make_rated_pairs(row["prompt"], row[RATED])]


MANY_RESPONSES = (
    Layout("nectar", frozenset({"prompt", "answers"}), nectar),
    Layout("ultrafeedback", frozenset({"instruction", "completions"}), ultrafeedback),
    Layout(
        "helpsteer2",
        frozenset({"prompt", "response", "helpfulness"}),
        helpsteer_2_ratings,
        rate=lambda row: (row["response"], take_number(row, "helpfulness")),
    ),
    Layout(
        "unpaired",
        frozenset({"prompt", "completion", "label"}),
        unpaired,
        rate=lambda row: (row["completion"], take_choice(row, "label", FLAGS)),
    ),
)


def _without_scores(pair: dict[str, Any]) -> dict[str, Any]:
    """Return a pair without scores: two labels are no measure."""
    return {name: pair[name] for name in ("prompt", "chosen", "rejected")}
