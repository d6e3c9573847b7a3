"""Rows with `chosen` and `rejected`, whatever their prompt and their scores are called.

The prompt is `prompt`, or what chosen and rejected begin with; Orca's `question`, distilabel's
`input`, Alpaca's `instruction` (and `input`), ShareGPT's `conversations`. Two scores, where a data
set has them, are those of UltraFeedback binarized.
"""

from collections.abc import Collection
from typing import Any

from scpo.data.layouts.layout import SCORES, RawRow
from scpo.data.reading.fields import is_absent

PROMPTS = ("question", "instruction", "input", "conversations")
SCORE_COLUMNS = (
    SCORES,
    ("chosen_score", "rejected_score"),
    ("chosen-rating", "rejected-rating"),
    ("chosen_rating", "rejected_rating"),
)


def find_prompt(present: Collection[str], prompt: str) -> str:
    """Return the column of the prompt: the one of that name, else one of `PROMPTS`.

    `prompt` itself where there is none of them: chosen and rejected then begin with it.

    Raises:
        ValueError: Several may be it.
    """
    if prompt in present:
        return prompt
    found = [name for name in PROMPTS if name in present]
    if found == ["instruction", "input"]:
        return "instruction"
    if len(found) > 1:
        raise ValueError(
            f"The prompt may be in the columns {', '.join(found)}. Name one as the column of the "
            "prompt (prompt_column)."
        )
    return found[0] if found else prompt


def join_prompt(row: RawRow, column: str, prompt: str) -> dict[str, Any]:
    """Return a row with its prompt under the name `prompt`; Alpaca's input follows it."""
    made = dict(row)
    if column not in row:
        return made
    asked = made[column]
    if column == "instruction" and isinstance(asked, str) and not is_absent(row.get("input")):
        asked = f"{asked}\n{row['input']}"
    made[prompt] = asked
    return made


def find_scores(row: RawRow) -> tuple[Any, Any] | None:
    """Return the scores of chosen and rejected, None where one is missing."""
    for names in SCORE_COLUMNS:
        if not any(is_absent(row.get(name)) for name in names):
            return row[names[0]], row[names[1]]
    return None
