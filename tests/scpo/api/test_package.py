"""What `import scpo` offers, and how little it loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import scpo


def test_the_stub_lists_what_the_package_offers():
    stub = ast.parse(Path(scpo.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    told = {
        alias.asname: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == scpo._PLACES
    assert set(told) <= set(dir(scpo))


def test_importing_loads_nothing_heavy():
    code = "import sys; import scpo; print(*sorted(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert not loaded & {"torch", "ray", "numpy", "pandas", "pydantic", "transformers", "sweeps"}


def test_an_unknown_name_is_none_of_the_package():
    with pytest.raises(AttributeError, match="has no attribute 'reward_model'"):
        _ = scpo.reward_model
