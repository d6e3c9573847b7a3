"""Layouts of two responses and a judgement: which of them is preferred, and by how much.

HelpSteer2 (preferences) and HelpSteer3, PKU-SafeRLHF, SHP, and the comparisons of arenas.
"""

from typing import Any

from scpo.data.layouts.layout import FLAGS, Layout, RawRow, make_pair, take_choice, take_number
from scpo.data.reading.bad_rows import RowFault
from scpo.text.json_text import load_json

FIRST, SECOND, TIE = "first", "second", "tie"
_BY_NUMBER = {"0": FIRST, "1": SECOND}
_BY_LABEL = {said: FIRST if is_first else SECOND for said, is_first in FLAGS.items()}
_WINNERS = {
    "model_a": FIRST,
    "model_b": SECOND,
    **dict.fromkeys(("tie", "tie (bothbad)", "both_bad", "bothbad"), TIE),
}


def helpsteer_3(row: RawRow) -> list[dict[str, Any]]:
    """Return the pair of a HelpSteer3 row: `overall_preference` -3..3, below 0 the first."""
    strength = take_number(row, "overall_preference")
    return _by_strength(row["context"], row.get("response1"), row.get("response2"), strength)


def helpsteer_2(row: RawRow) -> list[dict[str, Any]]:
    """Return the pair of a HelpSteer2 preference: `preference_strength`, below 0 the first."""
    strength = take_number(row, "preference_strength")
    return _by_strength(row["prompt"], row.get("response_1"), row.get("response_2"), strength)


def pku_helpful(row: RawRow) -> list[dict[str, Any]]:
    """Return the pair of a PKU-SafeRLHF row by helpfulness, `better_response_id`."""
    return _pku(row, "better_response_id")


def pku_safe(row: RawRow) -> list[dict[str, Any]]:
    """Return the pair of a PKU-SafeRLHF row by safety, `safer_response_id`."""
    return _pku(row, "safer_response_id")


def shp(row: RawRow) -> list[dict[str, Any]]:
    """Return the pair of an SHP row: label 1 where A is preferred; the scores are votes."""
    scores = take_number(row, "score_A"), take_number(row, "score_B")
    which = take_choice(row, "labels", _BY_LABEL)
    return _choose(which, row["history"], row["human_ref_A"], row["human_ref_B"], scores)


def arena(row: RawRow) -> list[dict[str, Any]]:
    """Return the pair of an arena's two conversations, none for a tie.

    Conversations of several turns that part before the last response are refused later.
    """
    which = take_choice(row, "winner", _WINNERS)
    return _choose(which, None, row["conversation_a"], row["conversation_b"])


def arena_lists(row: RawRow) -> list[dict[str, Any]]:
    """Return the pair of an arena row that holds its turns as printed JSON lists."""
    first, second, tie = (
        take_choice(row, f"winner_{name}", FLAGS) for name in ("model_a", "model_b", "tie")
    )
    if first + second + tie != 1:
        message = "One of winner_model_a, winner_model_b and winner_tie must be 1."
        raise RowFault("wrong_type", message, "winner_tie")
    asked = _take_turns(row, "prompt")
    sides = []
    for name in ("response_a", "response_b"):
        replies = _take_turns(row, name)
        if len(replies) != len(asked):
            message = f"As many turns as in prompt, {len(asked)}, must stand here."
            raise RowFault("wrong_type", message, name)
        turns = [
            {"role": role, "content": text}
            for pair in zip(asked, replies, strict=True)
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        sides.append(turns)
    return _choose(FIRST if first else SECOND if second else TIE, None, sides[0], sides[1])


TWO_RESPONSES = (
    Layout(
        "helpsteer3",
        frozenset({"context", "response1", "response2", "overall_preference"}),
        helpsteer_3,
    ),
    Layout(
        "helpsteer2_preference",
        frozenset({"prompt", "response_1", "response_2", "preference_strength"}),
        helpsteer_2,
    ),
    Layout(
        "pku_saferlhf",
        frozenset({"prompt", "response_0", "response_1", "better_response_id"}),
        pku_helpful,
    ),
    Layout(
        "pku_saferlhf_safety",
        frozenset({"prompt", "response_0", "response_1", "safer_response_id"}),
        pku_safe,
        is_only_named=True,
    ),
    Layout(
        "shp",
        frozenset({"history", "human_ref_A", "human_ref_B", "labels", "score_A", "score_B"}),
        shp,
    ),
    Layout(
        "arena", frozenset({"conversation_a", "conversation_b", "winner"}), arena, user="judge"
    ),
    Layout(
        "arena_lists",
        frozenset(
            {"prompt", "response_a", "response_b", "winner_model_a", "winner_model_b"}
            | {"winner_tie"}
        ),
        arena_lists,
    ),
)


def _pku(row: RawRow, field: str) -> list[dict[str, Any]]:
    which = take_choice(row, field, _BY_NUMBER)
    return _choose(which, row["prompt"], row["response_0"], row["response_1"])


def _by_strength(prompt: Any, first: Any, second: Any, strength: float) -> list[dict[str, Any]]:
    which = FIRST if strength < 0 else SECOND if strength > 0 else TIE
    scores = (-strength, 0.0) if strength < 0 else (0.0, strength)
    return _choose(which, prompt, first, second, scores)


def _choose(
    which: str, prompt: Any, first: Any, second: Any, scores: tuple[float, float] | None = None
) -> list[dict[str, Any]]:
    """Return the pair with the preferred response as chosen; `scores` are of first and second."""
    if which == TIE:
        return []
    if which == FIRST:
        return [make_pair(prompt, first, second, scores)]
    return [make_pair(prompt, second, first, scores and scores[::-1])]


def _take_turns(row: RawRow, field: str) -> list[Any]:
    value = row.get(field)
    if isinstance(value, str):
        try:
            value = load_json(value)
        except ValueError:
            value = None
    if not isinstance(value, list) or not value:
        message = f"A JSON list of texts must stand here, got {row.get(field)!r:.40}."
        raise RowFault("wrong_type", message, field)
    return value
