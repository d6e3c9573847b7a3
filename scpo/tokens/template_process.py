"""Runs as a process of its own: renders conversations through a stranger's chat template.

It imports only the standard library and jinja2. A request is a line of JSON on standard input:
template, variables, conversations, and how many characters a text may have; the answer is a line
with the texts or an error. The template runs in jinja2's sandbox as transformers sets it up. What
takes too much processor time or memory ends this process, also in the middle of one C call.
"""

import json
import resource
import signal
import sys
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class _Generation(Extension):
    """The tag of transformers around what the assistant says: rendered as if it were not there."""

    def __init__(self, environment: jinja2.Environment) -> None:
        super().__init__(environment)
        self.tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Failure(Exception):
    """What a template raised, or that it makes too much."""


def _serve(limit_s: float, limit_bytes: int) -> None:
    for kind, limit in ((resource.RLIMIT_AS, limit_bytes), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (limit, limit))
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_PROF, limit_s)  # whose signal ends the process
        try:
            answer: dict[str, Any] = {"texts": _render(**json.loads(line))}
        except _Failure as failure:
            answer = {"error": str(failure)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _render(
    template: str,
    variables: dict[str, Any],
    conversations: list[list[dict[str, str]]],
    free_characters: int,
) -> list[str]:
    texts = []
    for messages in conversations:
        said = sum(len(message["content"]) for message in messages)
        try:
            text = _compile(template).render(messages=messages, **variables)
        except Exception as error:  # a template is a program: it may raise anything
            told = " ".join(str(error).split())[:300]
            raise _Failure(f"{type(error).__name__}: {told}") from error
        if len(text) > free_characters + 4 * said:
            raise _Failure(f"it makes {len(text):,} characters of {said:,}")
        texts.append(text)
    return texts


@lru_cache(maxsize=4)
def _compile(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    return environment.from_string(template)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


if __name__ == "__main__":
    _serve(float(sys.argv[1]), int(sys.argv[2]))
