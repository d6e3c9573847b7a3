"""Between the global model and a country's, without training: r = (1 - s) r_global + s r_country.

Rewards are linear in the steering weight s, so margins are too, and a curve over s in 0..1 costs
no forward pass. The s to use is the one that validation users prefer; test users only judge it.
Several countries' models mix the same way, with weights that sum to 1. It makes sense for models
that were trained from one global model, whose rewards have one scale.

Legend: P pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from scpo.arrays import FloatArray, Row
from scpo.choices import POOLED
from scpo.evaluation.pair_scores import GLOBAL, LENGTH, PairScores, split_label
from scpo.evaluation.panels import Panel, layer_rows, pool_panels
from scpo.statistics.accuracy import pair_accuracy
from scpo.statistics.paired import paired_differences

WEIGHTS = [number / 20 for number in range(21)]  # 0, 0.05, ..., 1
UNSTEERED = (GLOBAL, LENGTH)


def mix_margins(margins: Mapping[str, ArrayLike], weights: Mapping[str, float]) -> FloatArray:
    """Return the margins of a mixture of models, sum of weight times margin, shape (P,).

    Margins are of shape (P,), by model; weights are >= 0 and sum to 1; models without one are left
    out.

    Raises:
        ValueError: A weight is negative or of no model, they do not sum to 1, or shapes differ.
    """
    unknown = sorted(set(weights) - set(margins))
    total = sum(weights.values())
    if unknown or min(weights.values(), default=0) < 0 or not np.isclose(total, 1.0, atol=1e-9):
        raise ValueError(
            "Weights must be of known models, not negative and sum to 1, but got "
            f"{dict(weights)} for the models {', '.join(margins)}."
        )
    used = {name: np.asarray(margins[name], dtype=np.float64) for name in weights}
    shapes = [margin.shape for margin in used.values()]
    if len(set(shapes)) != 1:
        raise ValueError(f"Margins must have one shape, but got {shapes}.")
    # An end is that model itself to the bit: 0 times the other and a rounded sum would not be.
    terms = [
        margin if weights[name] == 1 else weights[name] * margin
        for name, margin in used.items()
        if weights[name]
    ]
    return np.asarray(sum(terms[1:], start=terms[0]))


def steered_margins(
    global_margin: ArrayLike, country_margin: ArrayLike
) -> dict[float, FloatArray]:
    """Return the margins at each steering weight of `WEIGHTS`, each of shape (P,)."""
    ends = {"global": global_margin, "country": country_margin}
    return {s: mix_margins(ends, {"global": 1 - s, "country": s}) for s in WEIGHTS}


def preferred_weight(global_margin: ArrayLike, country_margin: ArrayLike) -> float:
    """Return the s of the highest overall accuracy; of equals the smallest, which moves least.

    Margins are those of validation pairs, shape (P,).
    """
    steered = steered_margins(global_margin, country_margin)
    best: float = max(WEIGHTS, key=lambda s: (int(np.count_nonzero(steered[s] > 0)), -s))
    return best


def knob_rows(panel: Panel, part: str) -> list[Row]:
    """Return accuracy by arm, s and layer on one part's pairs."""
    rows = []
    for arm, margin in panel.margins.items():
        if arm not in UNSTEERED:
            steered = steered_margins(panel.margins[GLOBAL], margin)
            head = {"country": panel.country, "arm": arm, "part": part}
            rows += layer_rows(steered, panel, head, "share")
    return rows


def choice_rows(validation: Sequence[Panel], judged: Sequence[Panel]) -> list[Row]:
    """Return, by country and arm, the s that validation prefers and how it does when judged.

    `validation` are panels of validation users; a pooled one is passed over. Where two countries
    or more have a choice of an arm, a pooled row judges all of them, each country at its own s.
    """
    rows: list[Row] = []
    steered: dict[str, list[Panel]] = {}
    by_country = {panel.country: panel for panel in judged}
    for chosen_on in validation:
        if chosen_on.country == POOLED:
            continue
        judged_on, reference = by_country[chosen_on.country], chosen_on.margins[GLOBAL]
        for arm, margin in chosen_on.margins.items():
            if arm in UNSTEERED or arm not in judged_on.margins:
                continue
            s = preferred_weight(reference, margin)
            margins = {GLOBAL: judged_on.margins[GLOBAL], "whole": judged_on.margins[arm]}
            margins["mixed"] = mix_margins(margins, {GLOBAL: 1 - s, "whole": s})
            panel = replace(judged_on, margins=margins)
            steered.setdefault(arm, []).append(panel)
            rows.append(_choice_row(panel, arm, s, len(reference)))
    for arm, panels in steered.items():
        if len(panels) > 1:
            pairs = sum(row["pairs_chosen_on"] for row in rows if row["arm"] == arm)
            rows.append(_choice_row(pool_panels(panels), arm, None, pairs))
    return rows


def mixture_rows(scores: Sequence[PairScores]) -> list[Row]:
    """Return, by country and arm, equal mixtures of all countries' models and of the others'."""
    countries = [each.country for each in scores]
    rows = []
    for each in scores:
        by_arm: dict[str, dict[str, str]] = {}
        for label in each.rewards:
            owner, arm = split_label(label, countries)
            if owner is not None:
                by_arm.setdefault(arm, {})[owner] = label
        for arm, labels in by_arm.items():
            others = [label for owner, label in labels.items() if owner != each.country]
            mixtures = {"all countries": list(labels.values()), "other countries": others}
            margins = {
                name: mix_margins(
                    {label: each.margin(label) for label in used},
                    dict.fromkeys(used, 1 / len(used)),
                )
                for name, used in mixtures.items()
                if len(used) > 1
            }
            rows += layer_rows(margins, each, {"country": each.country, "arm": arm}, "mixture")
    return rows


def _choice_row(panel: Panel, arm: str, s: float | None, pairs_chosen_on: int) -> Row:
    """Return the row of one choice, from a panel with the arms global, whole and mixed."""
    mixed = panel.margins["mixed"]
    row: Row = {"country": panel.country, "arm": arm, "share": s}
    row |= {"pairs_chosen_on": pairs_chosen_on, **pair_accuracy(mixed, panel.user).as_dict()}
    for name in ("whole", GLOBAL):
        against = paired_differences({"mixed": mixed}, panel.margins[name], panel.user)
        row |= against["mixed"].bootstrap.columns(f"against_{name}", f"against_{name}_")
    return row
