r"""The layouts of a preference row that TRL knows: a row comes in, three texts go out.

Explicit prompt (`prompt`, `chosen`, `rejected` as strings), implicit prompt (`chosen` and
`rejected` begin alike), conversational (lists of {role, content}), and HH-RLHF's transcripts
("\n\nHuman: ... \n\nAssistant: ..."). Several turns become one text of "User: ..." and
"Assistant: ..." blocks; a single user message is just its content.

Reference: https://huggingface.co/docs/trl/dataset_formats#preference
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from scpo.data.reading.bad_rows import RowFault
from scpo.data.reading.fields import clean_text

Message = tuple[str, str]  # role, content

_SAME_TEXTS = ("chosen_equals_rejected", "Two different responses must stand here.")
_NO_PROMPT = (
    "missing_field",
    "A prompt must be there: its own column, or a beginning that chosen and rejected share.",
)
ASSISTANT_MARKER = "\n\nAssistant:"
TRANSCRIPT_ROLE = re.compile(r"(?:^|\n\n)(Human|Assistant):")


class PairTexts(NamedTuple):
    """Prompt and two different responses, clean."""

    prompt: str
    chosen: str
    rejected: str


def extract_texts(row: Mapping[str, Any], prompt: str, chosen: str, rejected: str) -> PairTexts:
    """Return the three texts of a preference row in any of TRL's layouts.

    Given are the names of the columns; where the row lacks the prompt's, the prompt is what
    chosen and rejected begin with.

    Raises:
        RowFault: A field is missing, of a wrong type or without visible text; the two responses
            are the same; or there is no prompt.
    """
    for name in (chosen, rejected):
        if row.get(name) is None:
            raise RowFault("missing_field", "The field must be there and not be null.", name)
    if isinstance(row[chosen], list) and isinstance(row[rejected], list):
        raw = _split_messages(
            _take_prompt(row, prompt), _take_messages(row, chosen), _take_messages(row, rejected)
        )
    else:
        texts = _take_string(row, chosen), _take_string(row, rejected)
        raw = _split_strings(_take_prompt(row, prompt), *texts)
    prompt_text = clean_text(raw[0], prompt)
    chosen_text, rejected_text = clean_text(raw[1], chosen), clean_text(raw[2], rejected)
    if chosen_text == rejected_text:
        raise RowFault(*_SAME_TEXTS, rejected)
    return PairTexts(prompt_text, chosen_text, rejected_text)


def render_messages(messages: list[Message], lone_role: str) -> str:
    """Return messages as one text: a lone message of `lone_role` is its content, else blocks."""
    if len(messages) == 1 and messages[0][0] == lone_role:
        return messages[0][1]
    return "\n\n".join(f"{role.capitalize()}: {content}" for role, content in messages)


def _split_messages(
    prompt: list[Message] | None, chosen: list[Message], rejected: list[Message]
) -> tuple[str, str, str]:
    """Return prompt and responses of conversations that may or may not contain the prompt."""
    if chosen == rejected:
        raise RowFault(*_SAME_TEXTS, "rejected")
    length = 0
    while chosen[length : length + 1] == rejected[length : length + 1]:
        length += 1
    shared = chosen[:length]
    # Where the conversations repeat the prompt, they may add a system message before it.
    extra = [] if prompt is None or all(message in shared for message in prompt) else prompt
    if not extra and not shared:
        raise RowFault(*_NO_PROMPT, "prompt")
    return (
        render_messages(extra + shared, "user"),
        render_messages(chosen[length:], "assistant"),
        render_messages(rejected[length:], "assistant"),
    )


def _split_strings(
    prompt: list[Message] | None, chosen: str, rejected: str
) -> tuple[str, str, str]:
    """Return prompt and responses of texts that may or may not begin with the prompt."""
    if prompt is None:
        return _split_shared_beginning(chosen, rejected)
    text = render_messages(prompt, "user")
    cut = len(text)
    if all(full.startswith(text) and full[cut : cut + 1].isspace() for full in (chosen, rejected)):
        return _render_transcript(text), _strip_role(chosen[cut:]), _strip_role(rejected[cut:])
    return text, chosen, rejected


def _split_shared_beginning(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Return prompt and responses of two texts that begin with the same prompt."""
    if chosen == rejected:
        raise RowFault(*_SAME_TEXTS, "rejected")
    shorter = min(len(chosen), len(rejected))
    length = next((i for i in range(shorter) if chosen[i] != rejected[i]), shorter)
    shared = chosen[:length]
    marker = shared.rfind(ASSISTANT_MARKER)
    # Without a marker the prompt ends at a word's end: "The sky is b|lue", "The sky is b|ad".
    end = marker if marker >= 0 else len(shared) - len(re.split(r"\s", shared)[-1])
    if not shared[:end].strip():
        raise RowFault(*_NO_PROMPT, "prompt")
    texts = _strip_role(chosen[end:]), _strip_role(rejected[end:])
    return _render_transcript(shared[:end]), *texts


def _render_transcript(text: str) -> str:
    """Return an HH-RLHF transcript as blocks, any other text unchanged."""
    start, *turns = TRANSCRIPT_ROLE.split(text.strip())
    if not turns or start:
        return text
    roles = {"Human": "user", "Assistant": "assistant"}
    turn_texts = zip(turns[::2], turns[1::2], strict=True)
    messages = [(roles[role], content.strip()) for role, content in turn_texts]
    return render_messages(messages, "user")


def _strip_role(text: str) -> str:
    return text.strip().removeprefix(ASSISTANT_MARKER.strip()).strip()


def _take_prompt(row: Mapping[str, Any], name: str) -> list[Message] | None:
    """Return the prompt as messages, or None where the row has no such column."""
    if name not in row:
        return None
    if isinstance(row[name], list):
        return _take_messages(row, name)
    if row[name] is None:
        raise RowFault("missing_field", "The field must not be null.", name)
    return [("user", _take_string(row, name))]


def _take_string(row: Mapping[str, Any], name: str) -> str:
    text = row[name]
    if not isinstance(text, str):
        message = f"A text or a list of messages must stand here, got {type(text).__name__}."
        raise RowFault("wrong_type", message, name)
    return text


def _take_messages(row: Mapping[str, Any], name: str) -> list[Message]:
    messages: list[Message] = []
    for message in row[name]:
        fields = message if isinstance(message, dict) else {}
        role, content = fields.get("role"), fields.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            raise RowFault(
                "wrong_type", "Messages must be objects with a text `role` and `content`.", name
            )
        messages.append((role.strip().lower(), content.strip()))
    if not messages:
        raise RowFault("empty_text", "At least one message must stand here, got none.", name)
    return messages
