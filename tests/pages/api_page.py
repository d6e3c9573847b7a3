"""docs/api.md: what `import scpo` offers, from its signatures and Google-style docstrings."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from textwrap import dedent
from typing import Any

import scpo
from scpo.api.preferences import Reading

NAMES = ("RewardModel", "Mixture", "mix", "Preferences", "train", "sweep", "Run")
HEAD = """# The Python API

What `import scpo` offers, with type hints. It loads neither torch nor Ray before a name is used.

- Rewards are float32 logits without a unit: only their differences mean something. Accuracies,
  shares and probabilities are fractions from 0 to 1, `low` and `high` the ends of a 95 % interval
  by user, times are in seconds. U is the number of responses.
- `Said` is a text, or a list of messages with `role` and `content`. `Rewards` is an array of shape
  (U,), float32. A `RankedResponse` has `corpus_id`, `score` and perhaps `text`, a `BestResponse`
  `index` and `reward`.
- The examples run as tests. In them `model` is a `RewardModel`, `decoder` one that reads
  conversations, `run` a `Run`, and `folder` the folder of the model or the run.
"""
_OURS = ("scpo", "sweeps")
_INSTANCES = {"RewardModel": "model", "Mixture": "mixture", "Preferences": "data", "Run": "run"}
_SECTIONS = "Args Attributes Returns Raises Warns Example Reference".split()
_LISTS = ("Args", "Attributes", "Raises", "Warns")
_LONGEST = 88  # characters of a signature in one line


def api_page() -> str:
    """Return the page."""
    parts = [HEAD]
    for name in NAMES:
        offered = getattr(scpo, name)
        parts.append(f"## {name}\n\n{_described(f'scpo.{name}', offered)}")
        if inspect.isclass(offered):
            parts += [_member(name, *each) for each in _members(offered)]
    parts.append(f"## Reading\n\n{_markdown(Reading.__doc__)}")
    return "\n".join(parts)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the public members of a class, those that it inherits last."""
    bases = [base for base in kind.__mro__ if base.__module__.partition(".")[0] in _OURS]
    seen = set()
    for base in bases if kind is not scpo.Mixture else [kind]:  # it inherits what RewardModel does
        for name, member in vars(base).items():
            is_public = not name.startswith("_") or name == "__call__"
            is_shown = callable(member) or isinstance(member, classmethod) or _getter(member)
            if is_public and is_shown and name not in seen:
                seen.add(name)
                yield name, member


def _getter(member: Any) -> Callable[..., Any] | None:
    """Return the function behind a property, None for anything else."""
    if isinstance(member, property):
        return member.fget
    return member.func if isinstance(member, cached_property) else None


def _member(owner: str, name: str, member: Any) -> str:
    title = f"### {owner}.{name}\n\n"
    if isinstance(member, classmethod):
        return title + _described(f"scpo.{owner}.{name}", member.__func__)
    called = _INSTANCES[owner] if name == "__call__" else f"{_INSTANCES[owner]}.{name}"
    if getter := _getter(member):
        shown = f"{called} -> {_written(_definition(getter).returns)}"
        return f"{title}```python\n{shown}\n```\n\n{_markdown(getter.__doc__)}"
    return title + _described(called, member)


def _described(called: str, offered: Callable[..., Any]) -> str:
    """Return the signature and the docstring of a function or class."""
    return f"```python\n{_signature(called, offered)}\n```\n\n{_markdown(offered.__doc__)}"


def _signature(called: str, offered: Callable[..., Any]) -> str:
    """Return a signature with hints as they are written and defaults as they are."""
    function = vars(offered)["__init__"] if inspect.isclass(offered) else offered
    node = _definition(function)
    every = (*node.args.args, *node.args.kwonlyargs, node.args.kwarg)
    hints = {each.arg: _written(each.annotation) for each in every if each is not None}
    shown: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
        default = parameter.default
        value = getattr(default, "__name__", None) or repr(default).replace("'", '"')
        given = "" if default is parameter.empty else f" = {value}"
        if name not in ("self", "cls"):
            shown.append(f"{stars}{name}: {hints[name]}{given}")
    back = "" if inspect.isclass(offered) else f" -> {_written(node.returns)}"
    line = f"{called}({', '.join(shown)}){back}"
    if len(line) <= _LONGEST:
        return line
    return f"{called}(\n" + "".join(f"    {each},\n" for each in shown) + f"){back}"


def _definition(function: Callable[..., Any]) -> ast.FunctionDef:
    [node] = ast.parse(dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef)
    return node


def _written(annotation: ast.expr | None) -> str:
    """Return a type hint as people read it."""
    return "" if annotation is None else ast.unparse(annotation).replace("'", "")


def _markdown(docstring: str | None) -> str:
    """Return a docstring as Markdown: entries become a list, examples a block of code."""
    text, *rest = re.split(rf"(?m)^({'|'.join(_SECTIONS)}):\n", inspect.cleandoc(docstring or ""))
    parts = [text.rstrip()]
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        body = dedent(body).strip()
        if title == "Example":
            parts.append(f"```python\n{body}\n```")
        elif title in _LISTS:
            entries = re.sub(r"\n +", " ", body).splitlines()
            items = [re.sub(r"^([\w.]+): ", r"- `\1`: ", entry) for entry in entries]
            parts.append(f"**{title}**\n\n" + "\n".join(items))
        else:
            parts.append(f"**{title}**\n\n{' '.join(body.split())}")
    return "\n\n".join(parts) + "\n"
