"""Community Alignment: of four responses one is preferred, in up to four turns a conversation.

Each turn gives three pairs, of the preferred response with each other one. The prompt of a later
turn is the conversation so far, with the responses that the annotator preferred. The country is
the annotator's.

Reference: Zhang et al. 2025, "Cultivating Pluralism In Algorithmic Monoculture: The Community
    Alignment Dataset", https://arxiv.org/abs/2507.09650
"""

from typing import Any

from scpo.data.layouts.layout import Layout, RawRow, make_pair, take_choice
from scpo.data.reading.bad_rows import RowFault
from scpo.data.reading.fields import is_absent

COMMUNITY_HUB_NAME = "facebook/community-alignment-dataset"
TURNS = ("first", "second", "third", "fourth")
LETTERS = ("a", "b", "c", "d")
_END = "<|end_of_text|>"  # that some responses end with


def community_alignment(row: RawRow) -> list[dict[str, Any]]:
    """Return the pairs of a conversation, three a turn.

    A later turn without a preference ends the conversation.
    """
    pairs: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    for turn in TURNS:
        asked = row.get(f"{turn}_turn_prompt")
        chosen = row.get(f"{turn}_turn_preferred_response")
        if said and (is_absent(asked) or is_absent(chosen)):
            break
        texts = {
            f"response_{letter}": _response(row, f"{turn}_turn_response_{letter}")
            for letter in LETTERS
        }
        preferred = take_choice(
            row, f"{turn}_turn_preferred_response", {name: name for name in texts}
        )
        if texts[preferred] is None:
            message = "The preferred response must be there and not be null."
            raise RowFault("missing_field", message, f"{turn}_turn_{preferred}")
        prompt: Any = [*said, {"role": "user", "content": asked}] if said else asked
        others = [text for name, text in texts.items() if name != preferred and text is not None]
        pairs += [make_pair(prompt, texts[preferred], other) for other in others]
        said += [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": texts[preferred]},
        ]
    return pairs


COMMUNITY = Layout(
    "community_alignment",
    frozenset(
        {"annotator_id", "annotator_country", "first_turn_prompt"}
        | {"first_turn_preferred_response"}
    ),
    community_alignment,
    reads=frozenset(
        f"{turn}_turn_{field}"
        for turn in TURNS
        for field in (
            *("prompt", "preferred_response"),
            *(f"response_{letter}" for letter in LETTERS),
        )
    ),
    user="annotator_id",
    country="annotator_country",
)


def _response(row: RawRow, field: str) -> str | None:
    text = row.get(field)
    if is_absent(text):
        return None
    if not isinstance(text, str):
        raise RowFault("wrong_type", f"A text must stand here, got {text!r:.40}.", field)
    return text.removesuffix(_END)
