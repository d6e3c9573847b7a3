"""What a module must be and what it must not call; who imports whom is in pyproject.toml."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("scpo", "sweeps", "cluster")
FILES = sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))
COMMAND_LINE = "scpo.commands."


def module_of(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


@cache
def parse(module):
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported(nodes):
    """Yield the names of modules that import statements among the nodes name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def everywhere(module):
    return set(imported(ast.walk(parse(module))))


def at_module_level(module):
    """Imports that run when the module is imported: those outside functions."""
    waiting, nodes = list(parse(module).body), []
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            nodes.append(node)
            waiting += ast.iter_child_nodes(node)
    return set(imported(nodes))


def rooms(names):
    return {name.partition(".")[0] for name in names}


def test_there_is_something_to_test():
    assert {
        "scpo.training.loss",
        "sweeps.ranking.ranking",
        "cluster.jobs.client",
        "scpo.commands.sweep",
    } <= MODULES.keys()


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith(COMMAND_LINE)])
def test_commands_import_other_packages_within_their_handlers(module):
    assert not rooms(at_module_level(module)) & {"sweeps", "cluster"}


def test_modules_import_each_other_in_no_circle():
    graph = {module: at_module_level(module) & MODULES.keys() for module in MODULES}
    for module in graph:
        graph[module] = {name for name in graph[module] if name not in ROOMS and name != module}
    while leaves := {module for module, names in graph.items() if not names}:
        graph = {module: names - leaves for module, names in graph.items() if module not in leaves}
    assert graph == {}


@pytest.mark.parametrize("module", MODULES)
def test_modules_say_what_they_are(module):
    docstring = ast.get_docstring(parse(module))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":", ",")) or "\n" in docstring


@pytest.mark.parametrize("module", MODULES)
def test_what_is_unsafe_is_not_called(module):
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("yaml.load", "eval", "exec", "os.system")
            assert called != "torch.load" or "weights_only=True" in ast.unparse(node)
            assert not called.startswith(("pickle.", "cloudpickle.", "dill."))
            for keyword in node.keywords:
                is_true = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                assert not (keyword.arg in ("shell", "trust_remote_code") and is_true)
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None
            caught = ast.unparse(node.type)
            assert caught != "BaseException"
            assert caught != "Exception" or isinstance(node.body[-1], ast.Raise)  # never to go on
    assert not rooms(everywhere(module)) & {"pickle", "cloudpickle", "dill", "marshal", "shelve"}


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_a_drawer(module):
    assert not {"utils", "helpers", "common", "misc"} & set(module.split("."))


@pytest.mark.parametrize("module", MODULES)
def test_nothing_runs_at_import(module):
    """At module level stand definitions and constants; calls only make values."""
    for node in parse(module).body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_main = isinstance(node, ast.If) and ast.unparse(node.test) in (
            "__name__ == '__main__'",
            "TYPE_CHECKING",
        )
        allowed = (
            ast.Import
            | ast.ImportFrom
            | ast.Assign
            | ast.AnnAssign
            | ast.FunctionDef
            | ast.AsyncFunctionDef
            | ast.ClassDef
        )
        assert is_docstring or is_main or isinstance(node, allowed), ast.unparse(node)[:80]
