"""All files of a run's curves: points, summary, LaTeX table and figures."""

from collections.abc import Sequence
from pathlib import Path

from sweeps.curves.output.figure import draw_curves, missing_curve, write_curves
from sweeps.curves.output.latex import write_latex
from sweeps.curves.output.layers_figure import draw_layers, missing_layers
from sweeps.curves.points import CurvePoint
from sweeps.curves.summary import SummaryRow, curve_summary, write_summary


def write_curve_files(
    points: Sequence[CurvePoint], run: Path, *, target: float | None = None
) -> tuple[list[SummaryRow], list[Path]]:
    """Write `curves.*`, `curve_summary.csv` and `curve_layers.*` into a run's folder.

    Figures need two budgets, that of the layers distinctive pairs too; without, they are left
    out and `missing_curve` says why.

    Args:
        points: As `curve_points` returns them.
        run: The folder.
        target: A further accuracy that arms are to reach, a fraction.

    Returns:
        The rows of the summary, and the paths.

    Raises:
        ValueError: `target` is not an accuracy.
    """
    rows = curve_summary(points, target=target)
    paths = [run / "curves.csv", run / "curve_summary.csv", run / "curves.tex"]
    write_curves(points, paths[0])
    write_summary(rows, paths[1])
    write_latex(rows, paths[2])
    if missing_curve(points) is None:
        paths += draw_curves(points, run / "curves")
    if missing_layers(points) is None:
        paths += draw_layers(points, run / "curve_layers")
    return rows, paths
