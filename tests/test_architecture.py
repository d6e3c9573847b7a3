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


def test_commands_import_other_packages_within_their_handlers():
    commands = [module for module in MODULES if module.startswith(COMMAND_LINE)]
    assert commands
    assert not [m for m in commands if rooms(at_module_level(m)) & {"sweeps", "cluster"}]


def test_modules_import_each_other_in_no_circle():
    graph = {module: at_module_level(module) & MODULES.keys() for module in MODULES}
    for module in graph:
        graph[module] = {name for name in graph[module] if name not in ROOMS and name != module}
    while leaves := {module for module, names in graph.items() if not names}:
        graph = {module: names - leaves for module, names in graph.items() if module not in leaves}
    assert graph == {}


def test_modules_say_what_they_are():
    def is_said(docstring):
        lines = (docstring or "").splitlines()
        return len(lines) > 1 or (len(lines) == 1 and lines[0].endswith((".", ":", ",")))

    assert not [module for module in MODULES if not is_said(ast.get_docstring(parse(module)))]


def is_unsafe(node):
    """Tell whether a call runs what it is given, or an except clause goes on after anything."""
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        return (
            called in ("yaml.load", "eval", "exec", "os.system")
            or (called == "torch.load" and given.get("weights_only") != "True")
            or called.startswith(("pickle.", "cloudpickle.", "dill."))
            or "True" in (given.get("shell"), given.get("trust_remote_code"))
        )
    if isinstance(node, ast.ExceptHandler):
        caught = "BaseException" if node.type is None else ast.unparse(node.type)
        goes_on = not isinstance(node.body[-1], ast.Raise)
        return caught == "BaseException" or (caught == "Exception" and goes_on)
    return False


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("torch.load(f)", True),
        ("torch.load(f, weights_only=True)", False),
        ("pickle.loads(b)", True),
        ("subprocess.run(c, shell=True)", True),
        ("load(m, trust_remote_code=given)", False),
        ("try: f()\nexcept: pass", True),
        ("try: f()\nexcept Exception: pass", True),
        ("try: f()\nexcept Exception: raise", False),
        ("try: f()\nexcept ValueError: pass", False),
    ],
)
def test_what_is_unsafe_is_known(code, expected):
    assert any(map(is_unsafe, ast.walk(ast.parse(code)))) == expected


def test_what_is_unsafe_is_not_called():
    for module in MODULES:
        unsafe = [ast.unparse(n) for n in ast.walk(parse(module)) if is_unsafe(n)]
        assert not unsafe, f"{module}: {unsafe}"
        names = rooms(everywhere(module))
        assert not names & {"pickle", "cloudpickle", "dill", "marshal", "shelve"}, module


def test_no_module_is_a_drawer():
    drawers = {"utils", "helpers", "common", "misc"}
    assert not [module for module in MODULES if drawers & set(module.split("."))]


ALLOWED = (
    ast.Import
    | ast.ImportFrom
    | ast.Assign
    | ast.AnnAssign
    | ast.FunctionDef
    | ast.AsyncFunctionDef
    | ast.ClassDef
)


def test_nothing_runs_at_import():
    """At module level stand definitions and constants; calls only make values."""
    for module in MODULES:
        for node in parse(module).body:
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_main = isinstance(node, ast.If) and ast.unparse(node.test) in (
                "__name__ == '__main__'",
                "TYPE_CHECKING",
            )
            stands = is_docstring or is_main or isinstance(node, ALLOWED)
            assert stands, f"{module}: {ast.unparse(node)[:80]}"
