"""A prompt: one message of the user, or the turns of a dialogue.

Encoders read a dialogue's text, decoders its turns through their chat template. A key tells
prompts apart in caches.
"""

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias


class Dialogue(NamedTuple):
    """Turns (role, content) that a response follows, and how they read as one text."""

    text: str
    turns: tuple[tuple[str, str], ...]


Prompt: TypeAlias = str | Dialogue


def make_prompt(text: str, messages: Iterable[Mapping[str, str]] | None) -> Prompt:
    """Return a prompt of a text and its messages, where it has several."""
    turns = tuple((each["role"], each["content"]) for each in messages or ())
    return Dialogue(text, turns) if turns else text


def prompt_text(prompt: Prompt) -> str:
    """Return a prompt as one text."""
    return prompt if isinstance(prompt, str) else prompt.text


def prompt_turns(prompt: Prompt) -> tuple[tuple[str, str], ...]:
    """Return a prompt as turns (role, content)."""
    return (("user", prompt),) if isinstance(prompt, str) else prompt.turns


def shorter_prompt(prompt: Prompt) -> Prompt | None:
    """Return a dialogue without its oldest turns, from a later message of the user on.

    A system message at its beginning stays until there is no such turn. None where nothing can be
    left out.
    """
    turns = prompt_turns(prompt)
    first = 1 if turns[0][0] == "system" else 0
    later = (n for n in range(first + 1, len(turns)) if turns[n][0] == "user")
    start = next(later, None)
    if start is not None:
        return Dialogue(prompt_text(prompt), turns[:first] + turns[start:])
    return Dialogue(prompt_text(prompt), turns[1:]) if first and turns[1:] else None


def prompt_key(prompt: Prompt) -> str:
    """Return a text that no other prompt has; a dialogue's begins with NUL, which no text has."""
    return prompt if isinstance(prompt, str) else f"\0{json.dumps(prompt, ensure_ascii=False)}"
