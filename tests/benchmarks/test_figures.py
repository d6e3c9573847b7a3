"""The format of the benchmarks' JSON lines."""

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    """The module as the benchmarks import it: by its file, not as part of a package."""
    spec = importlib.util.spec_from_file_location(
        "benchmark_figures", Path(__file__).with_name("figures.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_line_is_one_json_object_with_the_agreed_keys_in_order(figures):
    line = figures.figure_line(
        "speed", 4.123456, "x", reach=">= 4", against="TRL", on="a CPU, fp32"
    )
    assert "\n" not in line
    assert list(json.loads(line).items()) == [
        ("figure", "speed"),
        ("value", 4.1235),
        ("unit", "x"),
        ("reach", ">= 4"),
        ("against", "TRL"),
        ("on", "a CPU, fp32"),
    ]


def test_detail_stands_last_and_is_rounded(figures):
    line = figures.figure_line(
        "speed", 1.0, "x", reach=">= 4", against="", on="here", detail={"min": 1 / 3}
    )
    assert list(json.loads(line).items())[-1] == ("detail", {"min": 0.3333})


@pytest.mark.parametrize(
    ("value", "reach", "expected"),
    [
        (4.0, ">= 4", True),
        (3.99, ">= 4", False),
        (0.95, ">= 0.95", True),
        (0.05, "<= 0.05", True),
        (0.06, "<= 0.05", False),
        (math.nan, ">= 4", False),
        (math.nan, "<= 4", False),
    ],
)
def test_reach_is_read_as_text(figures, value, reach, expected):
    assert figures.is_reached(value, reach) is expected


@pytest.mark.parametrize("reach", ["", "4", "> 4", ">=4", ">= four", ">= 4x"])
def test_another_reach_is_refused(figures, reach):
    with pytest.raises(ValueError, match="reach must be `>= NUMBER` or `<= NUMBER`"):
        figures.figure_line("speed", 1.0, "x", reach=reach, against="", on="here")


def test_a_ratio_is_the_median_over_rounds_with_its_spread(figures):
    line = figures.ratio_line(
        "speed",
        [5.0, 3.0, 9.0],
        {"ours": [10.0, 30.0, 20.0], "theirs": [2.0, 10.0, 4.0]},
        reach=">= 4",
        against="theirs",
        on="here",
    )
    read = json.loads(line)
    assert read["value"] == 5.0
    assert read["detail"] == {"min": 3.0, "max": 9.0, "rounds": 3, "ours": 20.0, "theirs": 4.0}


def test_the_machine_names_cpu_cores_threads_torch_and_precision(figures):
    assert figures.machine("fp32").count(", ") == 4
    assert figures.machine("fp32").endswith("fp32")
    assert "torch " in figures.machine("fp32")


def test_the_cpu_is_read_from_cpuinfo(figures, tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU: 2 GHz\nmodel name\t: other\n")
    assert figures.cpu_model(cpuinfo) == "Some CPU: 2 GHz"
    assert figures.cpu_model(tmp_path / "absent") == figures.platform.machine()
