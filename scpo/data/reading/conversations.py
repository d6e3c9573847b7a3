r"""Turns of a conversation as people store them: a value comes in, messages go out.

A message is an object of `role` and `content` (TRL, OpenAI; the content a text, or parts of type
text) or of `from` and `value` (ShareGPT). An HH-RLHF transcript is one text,
"\n\nHuman: ...\n\nAssistant: ...". Roles leave as "system", "user" or "assistant".
"""

import re
import reprlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from scpo.data.reading.bad_rows import RowFault
from scpo.data.reading.fields import tidy

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "chatbot", "model", "ai"), "assistant"),
}
_UNREAD_FIELDS = (
    *("tool_calls", "function_call", "tool_call_id", "reasoning_content", "reasoning"),
    *("thinking", "refusal", "audio", "image", "images", "video", "videos"),
    *("documents", "files", "attachments", "experimental_attachments", "parts"),
)
# Each pattern is tried at one place of a run of white space only: texts may have very long ones.
_TRANSCRIPT_ROLE = re.compile(r"(?:^|(?<=\n)\r?\n)(Human|Assistant):")
_TRANSCRIPT = re.compile(r"\s*(Human|Assistant):")
# Python's and numpy's print, JSON within JSON, and objects such as ChatMessage(role='user', ...).
_PRINTED_MESSAGES = re.compile(
    r"(?:\s*array\()?[\s\"\[(]*(?:\{|\w*Message\()"
    r"(?=.*(?:['\"](?:role|from)\\?['\"]\s*:|\brole=)\s*\\?['\"]"
    rf"(?:{'|'.join(ROLES)}|tool|function)\\?['\"])"
    r"(?=.*(?:['\"](?:content|value|text|parts)\\?['\"]\s*:|\bcontent=))",
    re.DOTALL | re.IGNORECASE,
)

# How texts begin or end that a chat template has rendered already: it would be rendered twice.
_MARK = r"<[|\uff5c][^<>\s]{1,60}[|\uff5c]>"
_RENDERED = re.compile(rf"(?:<s>|<bos>)?\s*(?:{_MARK}|<start_of_turn>|\[INST\]|<<SYS>>)")
_RENDERED_END = re.compile(rf"(?:{_MARK}|<end_of_turn>|<eos>|</s>)\s*$")
_LONGEST_END = 100  # characters


class Message(NamedTuple):
    """One turn: "system", "user" or "assistant", and its text without white space around it."""

    role: str
    content: str


def take_messages(value: list[Any] | dict[str, Any], field: str) -> list[Message]:
    """Return the messages of a list, or the one of an object; a system message of nothing is none.

    Raises:
        RowFault: No message, another role, no text, or something besides text.
    """
    listed = value if isinstance(value, list) else [value]
    if not listed:
        raise RowFault("empty_text", "At least one message must stand here, got none.", field)
    taken = [_take_message(item, field) for item in listed]
    return [message for message in taken if message != ("system", "")]


def is_transcript(text: str) -> bool:
    """Return whether a text begins with "Human:" or "Assistant:"."""
    return _TRANSCRIPT.match(text) is not None


def split_transcript(text: str, lone_role: str) -> list[Message]:
    """Return the turns of an HH-RLHF transcript; what comes first has `lone_role`."""
    start, *turns = _TRANSCRIPT_ROLE.split(text.strip())
    named = zip(turns[::2], turns[1::2], strict=True)
    messages = [Message(ROLES[role.lower()], tidy(content)) for role, content in named]
    return [Message(lone_role, tidy(start)), *messages] if start.strip() else messages


def render_messages(messages: list[Message]) -> str:
    """Return the turns of a prompt as one text: a lone user's is its content, else blocks."""
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].content
    return "\n\n".join(f"{role.capitalize()}: {content}" for role, content in messages)


def refuse_printed(text: str, field: str) -> None:
    """Refuse a text that is a printed list of messages.

    Raises:
        RowFault: It is one.
    """
    if _PRINTED_MESSAGES.match(text):
        raise RowFault(
            "printed_messages",
            "A text, or a list of messages as JSON or Parquet hold it, must stand here, got a "
            f"printed list: {reprlib.repr(text)}.",
            field,
        )


def refuse_rendered(text: str, field: str) -> None:
    """Refuse a text that a chat template has rendered.

    Raises:
        RowFault: It begins or ends as one.
    """
    end = _RENDERED_END.search(text[-_LONGEST_END:])
    is_struck = end is not None and end[0].startswith("</s>") and "<s>" in text  # HTML
    if _RENDERED.match(text.lstrip()) or (end and not is_struck):
        raise RowFault(
            "rendered_template",
            "A text, or a list of messages, must stand here, got what a chat template has "
            f"rendered: {reprlib.repr(text)}. Give the messages, or the text without marks.",
            field,
        )


def unread_fields(message: Mapping[str, Any]) -> list[str]:
    """Return the fields of a message that say something which its text does not."""
    return [name for name in _UNREAD_FIELDS if message.get(name) not in (None, "", [], {})]


def _take_message(item: Any, field: str) -> Message:
    fields = item if isinstance(item, dict) else {}
    unread = unread_fields(fields)
    given = _first(fields, ("role", "from"))
    role = ROLES.get(given.strip().lower()) if isinstance(given, str) else None
    if isinstance(given, str) and role is None and not unread:
        message = f"A role must be of {', '.join(ROLES)}, got {given!r:.40}."
        raise RowFault("unknown_role", message, field)
    if unread:
        message = f"Messages must be text alone, got {', '.join(unread)}, which are not read."
        raise RowFault("unread_content", message, field)
    content = _first(fields, ("content", "value", "text"))
    if isinstance(content, list):
        content = "\n".join(_take_part(part, field) for part in content)
    if role is None or not isinstance(content, str):
        message = "Messages must be objects with a text `role` and `content`."
        raise RowFault("wrong_type", message, field)
    refuse_printed(content, field)
    refuse_rendered(content, field)
    return Message(role, tidy(content))


def _take_part(part: Any, field: str) -> str:
    """Return the text of a content part."""
    fields = part if isinstance(part, dict) else {"type": "text", "text": part}
    text = fields.get("text")
    if fields.get("type") not in ("text", "input_text", "output_text") or not isinstance(
        text, str
    ):
        kind = fields.get("type")
        message = f"Content parts must be of type text, got {kind!r:.40}, which is not read."
        raise RowFault("unread_content", message, field)
    return text


def _first(fields: dict[str, Any], names: tuple[str, ...]) -> Any:
    """Return the value of the first name that is there and not null, else None."""
    return next((fields[name] for name in names if fields.get(name) is not None), None)
