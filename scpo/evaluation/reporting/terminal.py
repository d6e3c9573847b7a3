"""The tables of `scpo.evaluation.tables` as people read them in a terminal."""

from collections.abc import Mapping
from functools import partial
from itertools import zip_longest

from rich.table import Table

from scpo.arrays import Row
from scpo.evaluation.pair_scores import GLOBAL
from scpo.evaluation.tables import Tables
from scpo.statistics.accuracy import LAYERS
from scpo.statistics.bootstrap import read_interval
from scpo.statistics.wording import format_accuracy, format_difference
from scpo.text.counts import format_count
from scpo.text.terminal_table import terminal_table

_accuracy = partial(format_accuracy, missing="-")


def evaluation_tables(tables: Tables) -> list[Table]:
    """Return accuracy with differences, the cross-country matrix, and the steering weights."""
    made = [accuracy_summary(tables)]
    if any(row["model_country"] for row in tables["matrix"]):
        made.append(matrix_summary(tables))
    if tables["knob_choice"]:
        made.append(knob_summary(tables))
    return made


def accuracy_summary(tables: Tables) -> Table:
    """Return accuracy by country and arm in percent, with differences in points."""
    by_layer = {(row["country"], row["arm"], row["layer"]): row for row in tables["accuracy"]}
    paired = {
        (row["country"], row["arm"], row["baseline"]): row
        for row in tables["paired"]
        if row["layer"] == "overall"
    }
    baselines = list(dict.fromkeys(name for _, _, name in paired))
    titles = ("overall", *(f"against {name}" for name in baselines), "distinctive", "consensus")
    sections = []
    for country in dict.fromkeys(country for country, _, _ in by_layer):
        arms = list(dict.fromkeys(arm for name, arm, _ in by_layer if name == country))
        counts = by_layer[country, arms[0], "overall"]
        heads = [
            country,
            format_count(counts["pairs"], "pair"),
            format_count(counts["users"], counts["unit"]),
        ]
        lines = [
            (
                head,
                arm,
                *(_accuracy_cells(by_layer, paired, country, arm, baselines) if arm else ()),
            )
            for head, arm in zip_longest(heads, arms, fillvalue="")
        ]
        sections.append(lines)
    unit = tables["accuracy"][0]["unit"]
    title = f"Held-out {unit}s: accuracy in %, differences in points, 95 % intervals by {unit}"
    return terminal_table(title, ("country", "arm", *titles), sections)


def _accuracy_cells(
    by_layer: Mapping[tuple[str, str, str], Row],
    paired: Mapping[tuple[str, str, str], Row],
    country: str,
    arm: str,
    baselines: list[str],
) -> list[str]:
    overall, *layers = (by_layer[country, arm, layer] for layer in LAYERS)
    against = [paired.get((country, arm, name)) for name in baselines]
    return [
        _accuracy(read_interval(overall, "accuracy"), unit=""),
        *(format_difference(read_interval(row, "difference") if row else None) for row in against),
        *(f"{_accuracy(row['accuracy'], unit='')} of {row['pairs']:,}" for row in layers),
    ]


def matrix_summary(tables: Tables) -> Table:
    """Return each model's accuracy on each country's pairs, in percent."""
    by_cell = {(row["model"], row["country"]): row for row in tables["matrix"]}
    countries = list(dict.fromkeys(country for _, country in by_cell))
    worst = {row["model"]: row for row in tables["worst"] if not row["own"]}
    lines = []
    for model in dict.fromkeys(model for model, _ in by_cell):
        found = [by_cell.get((model, name)) for name in countries]
        cells = [_accuracy(row["accuracy"] if row else None) for row in found]
        lines.append((model, *cells, worst[model]["country"] if model in worst else "-"))
    columns = ("model", *countries, "worst")
    return terminal_table("Every model on every country", columns, [lines], left=("model",))


def knob_summary(tables: Tables) -> Table:
    """Return the s that validation prefers and what it gives on the pairs that judge."""
    columns = ("s", "accuracy", "against s = 1", "against global", "validation pairs", "pairs")
    lines = [
        (
            row["country"],
            row["arm"],
            "each its own" if row["share"] is None else f"{row['share']:.2f}",
            _accuracy(read_interval(row, "accuracy")),
            *(
                format_difference(read_interval(row, name, f"{name}_"))
                for name in ("against_whole", f"against_{GLOBAL}")
            ),
            f"{row['pairs_chosen_on']:,}",
            f"{row['pairs']:,}",
        )
        for row in tables["knob_choice"]
    ]
    title = "(1 - s) global + s country, s from validation"
    return terminal_table(title, ("country", "arm", *columns), [lines])
