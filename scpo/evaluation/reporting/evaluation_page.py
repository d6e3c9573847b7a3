"""The tables of an evaluation as one self-contained page: `report.html`.

Accuracy against plain fine-tuning or the global model first; then every arm, every model on every
country, the steering weight, calibration, and what length explains.
"""

from itertools import cycle
from pathlib import Path

from scpo.arrays import Row
from scpo.choices import POOLED
from scpo.evaluation.pair_scores import GLOBAL
from scpo.evaluation.tables import Tables
from scpo.files.atomic import write_text
from scpo.page.charts import COLOURS, ForestRow, Plot, PlotPoint, Series, draw_forest, draw_plots
from scpo.page.page import Section, join, list_few, paragraph, render_page, warning
from scpo.page.sorted_tables import Table, TableCell, accuracy_cell, difference_cell, draw_table
from scpo.statistics.bootstrap import Interval, read_interval
from scpo.statistics.wording import format_accuracy
from scpo.text.counts import format_count


def write_evaluation_page(tables: Tables, out: Path, *, part: str) -> Path:
    """Write the page into an evaluation's folder and return its path."""
    path = out / "report.html"
    write_text(path, evaluation_page(tables, name=out.resolve().name, part=part))
    return path


def evaluation_page(tables: Tables, *, name: str, part: str) -> str:
    """Return the page of an evaluation on the users of a part, "test" or "validation"."""
    sections = [
        _arms(tables),
        _matrix(tables),
        _steering(tables, part),
        _calibration(tables),
        _length(tables),
    ]
    return render_page(
        f"Evaluation: {name}",
        _summary(tables),
        [section for section in sections if section is not None],
        facts=[f"{part} users", "95 % intervals by bootstrap over users"],
    )


def _summary(tables: Tables) -> str:
    """Return the gain of each arm in each country, by the first baseline there is."""
    rows = [row for row in tables["paired"] if row["layer"] == "overall"]
    known = {row["baseline"] for row in rows}
    baseline = next((name for name in ("full", GLOBAL) if name in known), None)
    shown = [row for row in rows if row["baseline"] == baseline]
    if baseline is None or not shown:
        return paragraph("There is one model alone, so nothing to compare.")
    lines = [
        ForestRow(
            f"{row['country']}, {row['arm']}",
            read_interval(row, "difference"),
            format_count(row["pairs"], "pair"),
        )
        for row in shown
    ]
    whole = [row for row in tables["accuracy"] if row["layer"] == "overall"]
    few = list_few({row["country"]: row["users"] for row in whole if row["country"] != POOLED})
    said = ""
    if few:
        said = warning(
            f"Few {whole[0]['unit']}s ({few}): intervals are rough, and differences of a few "
            "points cannot be seen."
        )
    return join([said, draw_forest(lines, f"Accuracy against {baseline}, points")])


def _arms(tables: Tables) -> Section:
    paired = {
        (row["country"], row["arm"], row["baseline"]): read_interval(row, "difference")
        for row in tables["paired"]
        if row["layer"] == "overall"
    }
    baselines = list(dict.fromkeys(name for _, _, name in paired))
    layers: dict[tuple[str, str], dict[str, Row]] = {}
    for row in tables["accuracy"]:
        layers.setdefault((row["country"], row["arm"]), {})[row["layer"]] = row
    unit = tables["accuracy"][0]["unit"]
    table = Table(
        "Accuracy of each arm in each country",
        (
            *("<country", "<arm", "accuracy, %", *(f"against {name}" for name in baselines)),
            *("distinctive, %", "consensus, %", "pairs", f"{unit}s"),
        ),
        [
            (
                country,
                arm,
                accuracy_cell(read_interval(of["overall"], "accuracy")),
                *(difference_cell(paired.get((country, arm, name))) for name in baselines),
                *(
                    accuracy_cell(read_interval(of[layer], "accuracy"), f"of {of[layer]['pairs']}")
                    for layer in ("distinctive", "consensus")
                ),
                of["overall"]["pairs"],
                of["overall"]["users"],
            )
            for (country, arm), of in layers.items()
        ],
    )
    return Section(
        "Arms",
        draw_table(table),
        "Differences are paired, in points. Distinctive pairs are those on which the global model "
        "is wrong: higher there is not simply better, it is paid for on the consensus pairs.",
    )


def _matrix(tables: Tables) -> Section | None:
    cells = {(row["model"], row["country"]): row for row in tables["matrix"]}
    if not any(row["model_country"] for row in tables["matrix"]):
        return None
    countries = list(dict.fromkeys(country for _, country in cells))
    rows: list[list[TableCell | str]] = []
    for model in dict.fromkeys(model for model, _ in cells):
        found = [cells.get((model, country)) for country in countries]
        of_row = [
            accuracy_cell(read_interval(r, "accuracy")) if r else TableCell("") for r in found
        ]
        rows.append([model, *of_row])
    table = Table("Every model on every country, accuracy in %", ("<model", *countries), rows)
    return Section("Every model on every country", draw_table(table))


def _steering(tables: Tables, part: str) -> Section | None:
    plots = []
    for country in dict.fromkeys(row["country"] for row in tables["knob"]):
        mine = [row for row in tables["knob"] if row["country"] == country and row["part"] == part]
        arms = dict.fromkeys(row["arm"] for row in mine)
        series = [
            Series(
                arm,
                [
                    _point(row, float(row["share"]), f"{arm}, s = {row['share']:g}")
                    for row in mine
                    if row["arm"] == arm
                    and row["layer"] == "overall"
                    and row["accuracy"] is not None
                ],
                colour,
                joined=True,
            )
            for arm, colour in zip(arms, cycle(COLOURS), strict=False)
        ]
        plots.append(Plot(country, "steering weight s", "accuracy, %", series))
    if not plots:
        return None
    return Section(
        "Steering weight",
        draw_plots(plots),
        "Accuracy of (1 - s) global + s country: 0 is the global model, 1 the country's own.",
    )


def _calibration(tables: Tables) -> Section | None:
    rows = [
        (
            row["country"],
            row["arm"],
            *(
                _number(row.get(name))
                for name in ("ece_width", "ece_if_calibrated", "brier", "nll")
            ),
            row.get("pairs"),
        )
        for row in tables["calibration"]
    ]
    if not rows:
        return None
    measures = ("ECE", "ECE if calibrated", "Brier score", "negative log-likelihood")
    columns = ("<country", "<arm", *measures, "pairs")
    table = Table("Calibration of the preference probability", columns, rows)
    return Section(
        "Calibration",
        draw_table(table),
        "Lower is better. The probability of the chosen response is sigmoid(margin).",
        is_open=False,
    )


def _length(tables: Tables) -> Section | None:
    rows = [
        (
            row["country"],
            row["arm"],
            difference_cell(row["gain"]),
            difference_cell(read_interval(row, "length_part", "length_")),
            difference_cell(read_interval(row, "rest", "rest_")),
            row["pairs"],
        )
        for row in tables["length_share"]
    ]
    if not rows:
        return None
    columns = ("<country", "<arm", "gain on global", "of it by length", "rest", "pairs")
    return Section(
        "What length explains",
        draw_table(Table("Share of the gain that length explains, points", columns, rows)),
        "The rest is the gain that would be left if people chose the longer response as often as "
        "the shorter one.",
    )


def _point(row: Row, x: float, name: str) -> PlotPoint:
    figure: Interval = read_interval(row, "accuracy")
    tip = f"{name}\n{format_accuracy(figure)}\n{format_count(row['pairs'], 'pair')}"
    return PlotPoint(x, float(row["accuracy"]), tip, figure.low, figure.high)


def _number(value: float | None) -> TableCell:
    return TableCell("") if value is None else TableCell(f"{value:.3f}", value)
