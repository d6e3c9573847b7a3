"""All files of a run's curves: points, summary, LaTeX table and figures."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from scpo.arrays import Row
from scpo.files.csv_files import write_csv
from scpo.files.figure_style import save_figure
from sweeps.curves.output.figure import (
    curves_figure,
    layers_figure,
    missing_curve,
    missing_layers,
)
from sweeps.curves.output.latex import write_latex
from sweeps.curves.points import CurvePoint
from sweeps.curves.summary import curve_summary, write_summary


def write_curve_files(
    points: Sequence[CurvePoint], run: Path, *, target: float | None = None
) -> tuple[list[Row], list[Path]]:
    """Write `curves.*`, `curve_summary.csv`, `curve_layers.*`; return the summary and the paths.

    Figures need two budgets, that of the layers distinctive pairs too; without, they are left
    out and `missing_curve` says why. `target` is a further accuracy to reach, a fraction.

    Raises:
        ValueError: `target` is not an accuracy.
    """
    rows = curve_summary(points, target=target)
    paths = [run / "curves.csv", run / "curve_summary.csv", run / "curves.tex"]
    write_points(points, paths[0])
    write_summary(rows, paths[1])
    write_latex(rows, paths[2])
    if missing_curve(points) is None:
        paths += save_figure(curves_figure(points), run / "curves")
    if missing_layers(points) is None:
        paths += save_figure(layers_figure(points), run / "curve_layers")
    return rows, paths


def write_points(points: Sequence[CurvePoint], path: Path) -> None:
    """Write the points as CSV; the columns are the fields of `CurvePoint`, less its counts."""
    columns = [field.name for field in fields(CurvePoint) if field.name != "by_user"]
    rows = [{name: getattr(point, name) for name in columns} for point in points]
    for row in rows:
        row["seed"] = "mean" if row["seed"] is None else row["seed"]
    write_csv(columns, rows, path)
