"""The frame of a page: title, summary, sections with a table of contents, style and script.

The page's policy (Content-Security-Policy) allows its own style and script by their hashes, and
nothing else: a text of the data that looks like markup or script is shown, never run.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment
from markupsafe import Markup

from scpo.statistics.wording import open_templates
from scpo.text.terminal import printable

FEW_USERS = 10  # a country judged by fewer has rough intervals
_FEW_SHOWN = 10  # of these countries


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: Its heading.
        body: HTML of `scpo.page`, or text.
        lead: What a reader must know to read it, a sentence or two.
        command: The command that makes it, as people type it.
        is_open: Whether it is unfolded at first.
    """

    title: str
    body: Markup | str
    lead: str = ""
    command: str = ""
    is_open: bool = True

    @property
    def anchor(self) -> str:
        """Its address within the page."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


def render_page(
    title: str,
    summary: Markup | str,
    sections: Sequence[Section],
    *,
    facts: Sequence[str] = (),
    refresh_s: int | None = None,
) -> str:
    """Return a page as HTML; `facts` stand in small letters under its title.

    With `refresh_s` it loads itself anew so often, and the reader stays where they are.
    """
    style, script = page_templates().get_template("page.css").render(), _script(refresh_s)
    if refresh_s is not None:
        facts = [f"Live, read anew every {refresh_s} s", *facts]
    return (
        page_templates()
        .get_template("page.html.j2")
        .render(
            title=title,
            summary=summary,
            sections=sections,
            facts=facts,
            style=Markup(style),  # nosec B704  # our own file
            script=Markup(script),  # nosec B704  # our own file
            style_hash=_hash(style),
            script_hash=_hash(script),
        )
    )


@cache
def page_templates() -> Environment:
    """Return the templates of this room; texts are escaped, control characters are shown."""
    environment = open_templates("scpo.page", "templates", escape=True)
    environment.finalize = lambda value: printable(value) if type(value) is str else value
    return environment


def join(parts: Sequence[Markup | str]) -> Markup:
    """Return parts one after the other; plain texts are escaped."""
    return Markup("\n").join(
        part if isinstance(part, Markup) else printable(part) for part in parts
    )


def paragraph(text: str) -> Markup:
    """Return a text as a paragraph."""
    return Markup("<p>{}</p>").format(printable(text))


def warning(text: str) -> Markup:
    """Return a text as a paragraph that stands out."""
    return Markup('<p class="warning">{}</p>').format(printable(text))


def list_few(users: Mapping[str, int]) -> str:
    """Return the countries of few users, fewest first, e.g. "Chile 3, Peru 9"; "" for none."""
    few = sorted((number, name) for name, number in users.items() if number < FEW_USERS)
    shown = ", ".join(f"{name} {number}" for number, name in few[:_FEW_SHOWN])
    return f"{shown} and {len(few) - _FEW_SHOWN} more" if len(few) > _FEW_SHOWN else shown


def _script(refresh_s: int | None) -> str:
    script = page_templates().get_template("page.js").render()
    if refresh_s is None:
        return script
    return f"{script}\n{page_templates().get_template('live.js').render(refresh_s=refresh_s)}"


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()
