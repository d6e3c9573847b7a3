"""The JSON line of a measured figure, and the machine that it was measured on.

A line holds `figure`, `value`, `unit`, `reach` (what must hold, as text such as ">= 4"),
`against` (what it was compared with) and `on` (CPU, cores, torch, precision). What a person
wants to see beside it, such as the spread over rounds, stands under `detail`.
"""

import json
import os
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

REACH = re.compile(r"(>=|<=) (\d+(?:\.\d+)?)")


def figure_line(
    figure: str,
    value: float,
    unit: str,
    *,
    reach: str,
    against: str,
    on: str,
    detail: dict[str, float] | None = None,
) -> str:
    """Return the JSON line of one figure.

    Args:
        figure: Name of the figure.
        value: What was measured.
        unit: Unit of `value`; "x" for a ratio.
        reach: What `value` must do: ">= 4" or "<= 0.1".
        against: What it was compared with; "" where nothing was.
        on: `machine(...)`.
        detail: Further numbers by name.

    Raises:
        ValueError: `reach` is not `>= NUMBER` or `<= NUMBER`.
    """
    is_reached(value, reach)
    line = {
        "figure": figure,
        "value": round(value, 4),
        "unit": unit,
        "reach": reach,
        "against": against,
        "on": on,
    }
    if detail:
        line["detail"] = {name: round(number, 4) for name, number in detail.items()}
    return json.dumps(line)


def is_reached(value: float, reach: str) -> bool:
    """Tell whether a value does what `reach` asks; NaN never does.

    Raises:
        ValueError: `reach` is not `>= NUMBER` or `<= NUMBER`.
    """
    match = REACH.fullmatch(reach)
    if match is None:
        raise ValueError(f"reach must be `>= NUMBER` or `<= NUMBER`, but got {reach!r}.")
    bound = float(match[2])
    return value >= bound if match[1] == ">=" else value <= bound


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the smallest, the largest and the number of the rounds' values."""
    return {"min": min(values), "max": max(values), "rounds": len(values)}


def ratio_line(
    figure: str,
    ratios: Sequence[float],
    rates: Mapping[str, Sequence[float]],
    *,
    reach: str,
    against: str,
    on: str,
) -> str:
    """Return the line of a ratio: the median over rounds, and the median rate of each side.

    Args:
        figure: Name of the figure.
        ratios: Ratio of each round.
        rates: Rates of each round, by name.
        reach: What the median must do.
        against: What the rate was compared with.
        on: `machine(...)`.
    """
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return figure_line(
        figure,
        statistics.median(ratios),
        "x",
        reach=reach,
        against=against,
        on=on,
        detail=spread(ratios) | medians,
    )


def machine(precision: str) -> str:
    """Return CPU, cores, threads used, torch and precision in words."""
    return (
        f"{cpu_model()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, {precision}"
    )


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the name of the CPU, or the architecture where the system does not tell."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.machine()
