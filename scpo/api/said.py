"""What a caller says, a text or messages, as prompts and responses of a reward model."""

from collections.abc import Iterable, Mapping, Sequence, Set, Sized
from typing import Any, TypeAlias

from scpo.data.reading.conversations import ROLES, Message, render_messages, unread_fields
from scpo.tokens.prompts import Dialogue, Prompt

Said: TypeAlias = str | Sequence[Mapping[str, Any]]  # a text, or messages of role and content


def read_said(
    prompts: Sequence[Said], responses: Sequence[Said]
) -> tuple[list[Prompt], list[str]]:
    """Return U prompts and U responses, as they are tokenised.

    Raises:
        ValueError: One text or one conversation stands where a list of them must, the lists
            differ in length, or a message is not of text that UTF-8 can hold.
    """
    asked, answers = read_list("prompts", prompts), read_list("responses", responses)
    if len(asked) != len(answers):
        raise ValueError(
            f"As many prompts as responses must be given, but there are {len(asked)} prompts "
            f"and {len(answers)} responses."
        )
    return [read_prompt(each) for each in asked], [read_response(each) for each in answers]


def read_list(name: str, given: Iterable[Said]) -> list[Said]:
    """Return texts or conversations as a list, by position whatever index they have.

    Raises:
        ValueError: One text, one conversation or no list stands there.
    """
    if isinstance(given, Set | Mapping | bytes) or not isinstance(given, Iterable):
        raise ValueError(f"`{name}` must be a list, but is a {type(given).__name__}.")
    listed = list(given)
    if isinstance(given, str) or any(isinstance(each, Mapping) for each in listed):
        one = "text" if isinstance(given, str) else "conversation"
        advice = " For one prompt and several responses use rank(prompt, responses)."
        raise ValueError(
            f"`{name}` must be a list of texts or of conversations, but is one {one}."
            f"{advice if name == 'prompts' else ''}"
        )
    return listed


def read_prompt(prompt: Said) -> Prompt:
    """Return a prompt; one message of the user is its text."""
    if isinstance(prompt, str):
        return check_text(prompt)
    _refuse_number(prompt, "prompt")
    turns = [Message(_role(turn), _content(turn)) for turn in prompt]
    if not turns:
        raise ValueError("A prompt must hold a message at least, but has none.")
    text = render_messages(turns)
    return text if len(turns) == 1 and turns[0].role == "user" else Dialogue(text, tuple(turns))


def read_response(response: Said) -> str:
    """Return the text of a response: a text, or one message of the assistant."""
    if isinstance(response, str):
        return check_text(response)
    if isinstance(response, Mapping):
        raise ValueError(
            "A response must be a text, or a list of one message, but is one message."
        )
    _refuse_number(response, "response")
    if len(response) != 1 or _role(response[0]) != "assistant":
        roles = ", ".join(map(_role, response)) or "none"
        raise ValueError(
            f"A response must be one message of the assistant, but has messages of {roles}. "
            "Put earlier turns into the prompt."
        )
    return _content(response[0])


def check_text(text: object) -> str:
    """Return a text that can be tokenised.

    Raises:
        ValueError: It is none, or has half of a surrogate pair, which no UTF-8 can hold.
    """
    if not isinstance(text, str):
        raise ValueError(f"A text must stand here, but got {text!r:.40}.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"A text must be of whole characters, but has {text[error.start]!a}, half of a "
            f"surrogate pair, at position {error.start}. Repair or leave out the text."
        ) from error
    return text


def _refuse_number(said: object, name: str) -> None:
    """Refuse what is neither a text nor a list, such as the NaN of a table's gap."""
    if not isinstance(said, Sized):
        raise ValueError(f"A {name} must be a text or a list of messages, but is {said!r:.40}.")


def _role(turn: Mapping[str, Any]) -> str:
    role = turn.get("role") if isinstance(turn, Mapping) else None
    if not isinstance(role, str):
        raise ValueError(f"A message must have a role and a content, but got {turn!r:.80}.")
    return check_text(ROLES.get(role.strip().lower(), role))


def _content(turn: Mapping[str, Any]) -> str:
    content = turn.get("content")
    if not isinstance(content, str):
        raise ValueError(
            f"The content of a message must be text, but is a {type(content).__name__}: parts and "
            "tool calls are not scored."
        )
    if unread := unread_fields(turn):
        raise ValueError(
            f"A message must be of text alone, but has {', '.join(unread)}, which no reward "
            "counts. Leave the field out, or write it into the content."
        )
    return check_text(content)
