"""All files of a run's curves: points, summary, LaTeX table and figures."""

from collections.abc import Sequence
from pathlib import Path

from scpo.arrays import Row
from scpo.files.figure_style import save_figure
from sweeps.curves.output.figure import curves_figure, layers_figure
from sweeps.curves.output.latex import write_latex
from sweeps.curves.points import CurvePoint, missing_curve, missing_layers
from sweeps.curves.summary import curve_summary, write_summary
from sweeps.ledger.pooled import write_columns

POINT_COLUMNS = """
    country arm budget seed num_seeds pairs_labelled pairs_trained accuracy low high pairs users
    distinctive distinctive_pairs consensus consensus_pairs global_accuracy length_accuracy
""".split()


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
    """Write the points as CSV; `seed` is "mean" where seeds are averaged."""
    write_columns(POINT_COLUMNS, point_rows(points), path)


def point_rows(points: Sequence[CurvePoint]) -> list[Row]:
    """Return the points with `POINT_COLUMNS` and more."""
    seeds = ["mean" if point.seed is None else point.seed for point in points]
    return [
        point.columns() | {"budget": point.budget, "seed": seed}
        for point, seed in zip(points, seeds, strict=True)
    ]
