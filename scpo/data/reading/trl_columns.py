"""The layouts of a preference row: a row comes in, one prompt and two responses go out.

Explicit prompt (`prompt`, `chosen`, `rejected`), implicit prompt (`chosen` and `rejected` begin
alike), or a prompt that both repeat; as texts, HH-RLHF's transcripts or lists of messages
(`scpo.data.reading.conversations`). The same dialogue gives the same prompt and responses in each.
A column `system` is its system message.
The responses must be one turn of the assistant each, to the same turns before it: conversations
that part earlier are refused, since a preference between them judges more than one response.

Reference: https://huggingface.co/docs/trl/dataset_formats#preference
"""

import ast
import re
from collections.abc import Mapping
from itertools import takewhile
from typing import Any, NamedTuple

from scpo.data.reading.bad_rows import RowFault
from scpo.data.reading.conversations import (
    Message,
    is_transcript,
    refuse_printed,
    refuse_rendered,
    render_messages,
    split_transcript,
    take_messages,
)
from scpo.data.reading.fields import clean_text, same_form, tidy
from scpo.data.reading.printed_literals import MAX_LITERAL

_SAME_TEXTS = ("chosen_equals_rejected", "Two different responses must stand here.")
_NO_PROMPT = (
    "missing_field",
    "A prompt must be there: its own column, or a beginning that chosen and rejected share.",
)
_PROMPT_ALONE = ("prompt_alone", "A response must follow the prompt, got none.")
_ANSWERED = (
    "prompt_answered",
    "The turn before the response must not be the assistant's own, as that of this prompt is.",
)
_SYSTEM = "system"  # the column of a system message
_PROMPTS_DIFFER = ("prompts_differ", "Chosen and rejected must answer one prompt, got several.")


class PairTexts(NamedTuple):
    """Prompt and two different responses, clean.

    `messages` are the turns of the prompt, (role, content) each; None where it is one message of
    the user, whose text `prompt` is then; else that is "User: ..." and "Assistant: ..." blocks.
    """

    prompt: str
    chosen: str
    rejected: str
    messages: tuple[Message, ...] | None = None


def extract_texts(
    row: Mapping[str, Any],
    prompt: str,
    chosen: str,
    rejected: str,
    *,
    strips_prompt: bool = True,
) -> PairTexts:
    """Return prompt and responses of a preference row in any layout.

    Given are the names of the columns; where the row lacks the prompt's, the prompt is what
    chosen and rejected begin with. With `strips_prompt`, a prompt that both repeat as texts is cut
    off them.

    Raises:
        RowFault: A field is missing, of a wrong type or without visible text; the responses are
            the same, answer different prompts, are no single turn of the assistant, or hold what
            is no text; or there is no prompt, or one that the assistant has answered.
    """
    asked, first, second = _read_columns(row, prompt, chosen, rejected)
    if first == second:
        raise RowFault(*_SAME_TEXTS, rejected)
    if isinstance(first, str) and isinstance(second, str):
        if asked is None:
            asked, first, second = _split_shared(same_form(first), same_form(second))
        elif strips_prompt and (rests := _rests(asked, first, second)) is not None:
            first, second = rests
            for rest, field in ((first, chosen), (second, rejected)):
                if not rest:  # the other response repeats the prompt too, so this is no response
                    raise RowFault(*_PROMPT_ALONE, field)
    turns, answers = _split_turns(
        asked, _as_turns(first, "assistant"), _as_turns(second, "assistant"), (chosen, rejected)
    )
    turns = _with_system(turns, row.get(_SYSTEM))
    if turns[-1].role == "assistant":
        raise RowFault(*_ANSWERED, prompt)
    clean_text(turns[-1].content, prompt)
    prompt_text = clean_text(render_messages(turns), prompt)
    texts = clean_text(answers[0], chosen), clean_text(answers[1], rejected)
    if texts[0] == texts[1]:
        raise RowFault(*_SAME_TEXTS, rejected)
    alone = len(turns) == 1 and turns[0].role == "user"
    return PairTexts(prompt_text, *texts, None if alone else tuple(turns))


def repeats_prompt(row: Mapping[str, Any], prompt: str, chosen: str, rejected: str) -> bool | None:
    """Tell whether both responses of a row begin with its prompt; None where they are no texts."""
    try:
        asked, first, second = _read_columns(row, prompt, chosen, rejected)
    except RowFault:
        return None
    if asked is None or not (isinstance(first, str) and isinstance(second, str)):
        return None
    return _rests(asked, first, second) is not None


def _read_columns(
    row: Mapping[str, Any], prompt: str, chosen: str, rejected: str
) -> tuple[str | list[Message] | None, str | list[Message], str | list[Message]]:
    """Return each column as a text, or as messages; transcripts are split where any is one."""
    for name in (chosen, rejected):
        if row.get(name) is None:
            raise RowFault("missing_field", "The field must be there and not be null.", name)
    if prompt in row and row[prompt] is None:
        raise RowFault("missing_field", "The field must not be null.", prompt)
    names = [name for name in (prompt, chosen, rejected) if name in row]
    texts = {name: row[name] for name in names if isinstance(row[name], str)}
    for name, text in texts.items():
        refuse_printed(text, name)
        refuse_rendered(text, name)
    if texts and all(map(_is_printed_list, texts.values())):
        message = "A text must stand here, got a printed list, as in all columns of the row."
        raise RowFault("printed_messages", message, names[0])
    any_transcript = any(map(is_transcript, texts.values()))

    def read(name: str, lone_role: str) -> str | list[Message]:
        value = row[name]
        if isinstance(value, list | dict):
            return take_messages(value, name)
        if not isinstance(value, str):
            message = f"A text or a list of messages must stand here, got {type(value).__name__}."
            raise RowFault("wrong_type", message, name)
        return (split_transcript(value, lone_role) or value) if any_transcript else value

    asked = read(prompt, "user") if prompt in row else None
    return asked, read(chosen, "assistant"), read(rejected, "assistant")


def _rests(asked: str | list[Message], chosen: str, rejected: str) -> tuple[str, str] | None:
    """Return two texts without the prompt; None unless both begin with it, as whole words."""
    text = tidy(render_messages(_as_turns(asked, "user")))
    both = tidy(chosen), tidy(rejected)
    first, second = (full.removeprefix(text) for full in both)
    repeats = all(full.startswith(text) for full in both)
    ends_word = all(not rest or rest[0].isspace() for rest in (first, second))
    return (first, second) if repeats and ends_word else None


def _split_shared(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Return the prompt that two texts begin with, at a word's end, and what follows in each."""
    shorter = min(len(chosen), len(rejected))
    length = next((i for i in range(shorter) if chosen[i] != rejected[i]), shorter)
    shared = chosen[:length]
    length -= len(re.split(r"\s", shared)[-1])  # at a word's end: "The sky is b|lue", "b|ad"
    if not shared[:length].strip():
        raise RowFault(*_NO_PROMPT, "prompt")
    return shared[:length], chosen[length:], rejected[length:]


def _split_turns(
    asked: str | list[Message] | None,
    chosen: list[Message],
    rejected: list[Message],
    fields: tuple[str, str],
) -> tuple[list[Message], tuple[str, str]]:
    """Return the turns of the prompt and the two responses."""
    before = [] if asked is None else _without_marker(_as_turns(asked, "user"))
    _refuse_user_last(chosen, before, fields[0])
    _refuse_user_last(rejected, before, fields[1])
    both = zip(chosen[:-1], rejected[:-1], strict=False)
    length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))
    shared = chosen[:length]
    for rest, field in zip((chosen[length:], rejected[length:]), fields, strict=True):
        rest_roles = [message.role for message in rest]
        if rest_roles[0] != "assistant":  # the turns before the response differ
            raise RowFault(*_PROMPTS_DIFFER, field)
        if len(rest) > 1:
            message = "A response must be one turn of the assistant, got "
            raise RowFault("several_turns", f"{message}{', '.join(rest_roles)}.", field)
    turns = _join_turns(before, shared, fields[0])
    if not turns:
        raise RowFault(*_NO_PROMPT, "prompt")
    return turns, (chosen[-1].content, rejected[-1].content)


def _join_turns(before: list[Message], shared: list[Message], field: str) -> list[Message]:
    """Return the prompt's turns, given those of its column and those that the responses share.

    The shared ones may repeat the prompt, with its system message or without, or with turns before
    or after it; or they go on from it.
    """
    spoken = [message for message in before if message.role != "system"]
    system = before[: len(before) - len(spoken)]
    if shared[: len(before)] == before:
        return shared
    has_system = bool(shared) and shared[0].role == "system"
    heard = shared[1:] if has_system else shared
    if has_system and system and shared[:1] != system:
        raise RowFault(*_PROMPTS_DIFFER, field)
    if not spoken or spoken in (heard[: len(spoken)], heard[-len(spoken) :]):
        return shared if has_system else system + shared
    if heard and not has_system and heard == spoken[-len(heard) :]:
        return before
    if has_system or (heard and (heard[0].role == spoken[-1].role or heard[0] in spoken)):
        raise RowFault(*_PROMPTS_DIFFER, field)
    return before + shared


def _with_system(turns: list[Message], given: object) -> list[Message]:
    """Return turns that begin with the system message which a column gives, if any."""
    said = {"role": "system", "content": given}
    system = take_messages([said], _SYSTEM) if isinstance(given, str) else []
    if turns[0].role != "system":
        return system + turns
    if system not in ([], turns[:1]):
        raise RowFault(*_PROMPTS_DIFFER, _SYSTEM)
    return turns


def _refuse_user_last(turns: list[Message], before: list[Message], field: str) -> None:
    """Refuse a conversation that ends with no turn of the assistant."""
    if turns and turns[-1].role == "assistant":
        return
    spoken = [message for message in before if message.role != "system"]
    if not turns or [message for message in turns if message.role != "system"] == spoken:
        raise RowFault(*_PROMPT_ALONE, field)
    message = f"The last turn must be the assistant's, got the {turns[-1].role}'s."
    raise RowFault("no_assistant_turn", message, field)


def _without_marker(turns: list[Message]) -> list[Message]:
    """Return the turns of a prompt without the "Assistant:" that asks for a response."""
    return turns[:-1] if turns[-1:] == [Message("assistant", "")] else turns


def _as_turns(value: str | list[Message], lone_role: str) -> list[Message]:
    return [Message(lone_role, tidy(value))] if isinstance(value, str) else value


def _is_printed_list(text: str) -> bool:
    """Return whether a text is a printed list of one text or more."""
    if not text.strip().startswith(("['", '["')):
        return False
    if len(text) > MAX_LITERAL:  # parsed, it would take a hundred times the memory
        return text.rstrip().endswith(("']", '"]'))
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
