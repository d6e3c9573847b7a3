"""The three rooms point one way, and what must not be called is not called."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("scpo", "sweeps", "cluster")
FILES = sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))
COMMAND_LINE = "scpo.commands."  # alone may reach into other rooms, inside a handler
MAY_NOT_IMPORT = {
    "scpo": {"sweeps", "cluster"},
    "sweeps": {"cluster"},
    "cluster": {"scpo", "sweeps"},
}
RAY_FILES = {
    "scpo.distributed.ray_scoring",
    "scpo.distributed.ray_training",
    "sweeps.lanes.lane_limit",
    "sweeps.lanes.job_queue",
    "sweeps.lanes.lane",
    "sweeps.lanes.pending_watch",
    "sweeps.search.rung_scheduler",
    "sweeps.search.country_search",
    "sweeps.lanes.sharded_lane",
    "sweeps.lanes.sharded_worker",
    "sweeps.lanes.tune_runner",
    "cluster.access.connection",
    "cluster.doctor.program",
    "cluster.jobs.client",
    "cluster.jobs.logs",
    "cluster.jobs.package",
}
RAY_ROOMS = ("scpo.distributed.", "sweeps.search.", "sweeps.lanes.")
ARRAY_ONLY = (
    "scpo.method.weighting",
    "scpo.method.arms",
    "scpo.data.pairs",
    "scpo.statistics.accuracy",
    "sweeps.ledger.records",
    "sweeps.ranking.ranking",
    "sweeps.curves.output.figure",
    "sweeps.report.report_page",
)
HEAVY = {"ray", "torch", "deepspeed", "transformers"}


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


def needs(module, seen=None):
    """Return everything that importing a module imports of this project and beyond."""
    seen = set() if seen is None else seen
    for name in at_module_level(module):
        if name not in seen:
            seen.add(name)
            if name in MODULES:
                needs(name, seen)
    return seen


def rooms(names):
    return {name.partition(".")[0] for name in names}


def test_there_is_something_to_test():
    assert {
        "scpo.training.loss",
        "sweeps.ranking.ranking",
        "cluster.jobs.client",
        "scpo.commands.sweep",
    } <= MODULES.keys()


@pytest.mark.parametrize("module", MODULES)
def test_rooms_point_one_way(module):
    names = at_module_level(module) if module.startswith(COMMAND_LINE) else everywhere(module)
    assert not rooms(names) & MAY_NOT_IMPORT[module.partition(".")[0]]


def test_modules_import_each_other_in_no_circle():
    graph = {module: at_module_level(module) & MODULES.keys() for module in MODULES}
    for module in graph:
        graph[module] = {name for name in graph[module] if name not in ROOMS and name != module}
    while leaves := {module for module, names in graph.items() if not names}:
        graph = {module: names - leaves for module, names in graph.items() if module not in leaves}
    assert graph == {}


def test_ray_is_imported_in_few_files():
    users = {module for module in MODULES if "ray" in rooms(everywhere(module))}
    assert {module for module in users if not module.startswith(RAY_ROOMS)} <= RAY_FILES


def test_deepspeed_is_imported_in_the_engine_and_its_worker():
    users = {module for module in MODULES if "deepspeed" in rooms(everywhere(module))}
    assert users == {
        "scpo.distributed.deepspeed_engine",
        "scpo.distributed.ray_training",
        "sweeps.lanes.sharded_worker",
    }


@pytest.mark.parametrize("module", ARRAY_ONLY)
def test_arrays_need_no_training_stack(module):
    assert not rooms(needs(module)) & HEAVY


def test_one_device_trains_without_ray_and_deepspeed():
    assert not rooms(needs("scpo.training.fit")) & {"ray", "deepspeed"}
    assert not rooms(needs("scpo.countries.one_country")) & {"ray", "deepspeed"}


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
            assert ast.unparse(node.type) not in ("Exception", "BaseException")
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
