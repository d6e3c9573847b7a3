"""The one place that prints: names are text, whatever they hold, and a closed pipe stops no work.

Markup, emoji codes and highlighting are off, so "lr[1e-5]" and ":smile:" appear as they are.
Control characters, and marks that turn the direction of a line round, are left out where a text
is shown, and nowhere else.
"""

import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_UNSHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_LONGEST_LINE = 1500


class TextConsole(Console):
    """A console that prints text as text, and goes on when nobody reads it any more."""

    def __init__(self, **settings: Any) -> None:
        settings = {"markup": False, "emoji": False, "highlight": False, **settings}
        super().__init__(**settings)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield what is printed, without the characters that would change the terminal."""
        for segment in super().render(renderable, options):
            if segment.control or not _UNSHOWN.search(segment.text):
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; when the output can take no more, say so once and go on without it."""
        try:
            super().print(*objects, **options)
        except OSError as error:
            with suppress(OSError, ValueError):  # what is left would fail again at the end
                self.on_broken_pipe()
            warn(f"the output could not be written ({error.strerror}); the work goes on.")

    def on_broken_pipe(self) -> None:
        """Print nothing more, once a reader such as `head` has gone."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def printable(text: str) -> str:
    """Return a text without the characters that change a terminal; lines stay."""
    return _UNSHOWN.sub("", text)


def one_line(text: str) -> str:
    """Return a text as one printable line of at most 1,500 characters."""
    line = " ".join(filter(None, (part.strip() for part in printable(text).splitlines())))
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."


def warn(text: str) -> None:
    """Write one line to standard error, as far as that still takes it."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"scpo: {one_line(text)}\n")
        sys.stderr.flush()


def _make_console() -> TextConsole:
    """Return the console; a stream that was closed, as by `>&-`, becomes one to nowhere."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")
    # A file or a pipe has no width of its own.
    return TextConsole(soft_wrap=True, width=None if sys.stdout.isatty() else 150)


console = _make_console()
