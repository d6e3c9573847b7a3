"""The country's name in a prompt: a template such as "In {country}: {prompt}".

`{prompt}` stands once; `{country}` may be left out or filled already, as in a country's model.
"""

import re

COUNTRY, PROMPT = "{country}", "{prompt}"


def check_template(template: str) -> str:
    """Return a template, or refuse it.

    Raises:
        ValueError: `{prompt}` is not in it once, or other braces are.
    """
    fields = re.findall(r"\{[^{}]*\}|[{}]", template)
    if fields.count(PROMPT) != 1 or set(fields) - {COUNTRY, PROMPT}:
        raise ValueError(
            f"A prompt prefix must hold {PROMPT} once and no other braces than {COUNTRY}, but got "
            f"{template!r}. Write, say, 'In {COUNTRY}: {PROMPT}'."
        )
    return template


def fill_country(template: str, country: str) -> str:
    """Return a template for one country."""
    return template.replace(COUNTRY, country)


def fill_prompt(template: str, prompt: str, country: str | None = None) -> str:
    """Return a prompt as a template has it.

    Raises:
        ValueError: The template needs a country, and none is given.
    """
    if COUNTRY in template and country is None:
        raise ValueError(
            f"Prompts of this model begin as {template!r}, so a country must be named to score "
            "with it, but none is."
        )
    before, after = template.split(PROMPT)
    ends = (fill_country(end, country or "") for end in (before, after))
    return prompt.join(ends)


def fill_turns(
    template: str, text: str, turns: list[tuple[str, str]], country: str | None = None
) -> tuple[str, list[tuple[str, str]]]:
    """Return a dialogue's text and turns with the prefix in the last turn of the user.

    A dialogue without one has it before its text, and in its first turn.

    Raises:
        ValueError: As of `fill_prompt`.
    """
    users = [number for number, (role, _) in enumerate(turns) if role == "user"]
    at = users[-1] if users else 0
    role, content = turns[at]
    filled = fill_prompt(template, content, country)
    before, _, after = text.rpartition(content)
    return f"{before}{filled}{after}", [*turns[:at], (role, filled), *turns[at + 1 :]]
