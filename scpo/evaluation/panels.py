"""What stands side by side in a table: the models that judge one country, on its own pairs.

A panel is a country's pairs with the margins of each arm's model there, or all countries' pairs
pooled, each pair judged by its own country's model of that arm. From panels come the rows of an
evaluation's tables, plain values by column name.

Legend: P pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scpo.arrays import FloatArray, Row
from scpo.choices import POOLED
from scpo.evaluation.pair_scores import GLOBAL, LENGTH, PairScores, own_labels
from scpo.statistics.accuracy import Name, layer_accuracies, split_layers
from scpo.statistics.paired import paired_differences

_BASELINES = (GLOBAL, "full", LENGTH)


@dataclass(frozen=True)
class Panel:
    """P pairs of one country, or of all."""

    country: str  # its name, or "pooled"
    user: NDArray[np.str_]  # of each pair, shape (P,); users of different countries differ
    reference_margin: FloatArray  # d of each pair, shape (P,)
    length_difference: FloatArray  # characters of y+ minus those of y-, shape (P,)
    margins: Mapping[str, FloatArray]  # by arm, of the model that judges the pair's country, (P,)
    unit: str = "user"  # as of `scpo.countries.country_data.CountryData`


def build_panels(scores: Sequence[PairScores]) -> list[Panel]:
    """Return all countries pooled, where there are two, and then each country.

    An arm that a country has no model of is left out of the pooled panel.

    Raises:
        ValueError: A country has no global model, or two models of an arm.
    """
    countries = [each.country for each in scores]
    panels = []
    for each in scores:
        labels = own_labels(each.rewards, each.country, countries)
        if GLOBAL not in labels:
            raise ValueError(
                f"{each.country}: rewards of the model {GLOBAL!r} must be given, but there are "
                f"those of {', '.join(each.rewards) or 'none'}."
            )
        margins = {arm: each.margin(label) for arm, label in labels.items()}
        panels.append(
            Panel(
                *(each.country, each.user, each.reference_margin, each.length_difference),
                *(margins, each.unit),
            )
        )
    return [*([pool_panels(panels)] if len(panels) > 1 else []), *panels]


def pool_panels(panels: Sequence[Panel]) -> Panel:
    """Return several countries' panels as one, with the arms that all of them have."""
    arms = [arm for arm in panels[0].margins if all(arm in panel.margins for panel in panels)]
    users = [np.strings.add(f"{panel.country}/", panel.user) for panel in panels]
    return Panel(
        POOLED,
        np.concatenate(users),
        np.concatenate([panel.reference_margin for panel in panels]),
        np.concatenate([panel.length_difference for panel in panels]),
        {arm: np.concatenate([panel.margins[arm] for panel in panels]) for arm in arms},
        "question" if all(panel.unit == "question" for panel in panels) else "user",
    )


def layer_rows(
    margins: Mapping[Name, FloatArray], pairs: Panel | PairScores, head: Row, column: str
) -> list[Row]:
    """Return accuracy, interval and counts by model and layer, from margins of shape (P,).

    Each row begins with the columns of `head`; `column` is the one that holds the models' names.
    """
    found = layer_accuracies(margins, pairs.reference_margin, pairs.user)
    return [
        {**head, column: name, "layer": layer, **accuracy.as_dict()}
        for name, layers in found.items()
        for layer, accuracy in layers.items()
    ]


def accuracy_rows(panel: Panel) -> list[Row]:
    """Return accuracy, interval and counts by arm and layer.

    `unit` says what `users` counts: "user", or "question" where each is a question of a survey.
    """
    rows = layer_rows(panel.margins, panel, {"country": panel.country}, "arm")
    return [row | {"unit": panel.unit} for row in rows]


def paired_rows(panel: Panel) -> list[Row]:
    """Return the difference of each arm to `global`, `full` and `length`, by layer."""
    rows = []
    for baseline in _BASELINES:
        others = [arm for arm in panel.margins if arm != baseline]
        if baseline not in panel.margins or not others:
            continue
        for layer, inside in split_layers(panel.reference_margin).items():
            found = paired_differences(
                {arm: panel.margins[arm][inside] for arm in others},
                panel.margins[baseline][inside],
                panel.user[inside],
            )
            head = {"country": panel.country, "baseline": baseline, "layer": layer}
            rows += [{**head, "arm": arm, **found[arm].as_dict()} for arm in others]
    return rows
