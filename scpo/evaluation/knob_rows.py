"""The steering knob of every country and arm as rows: curves on test, choices on validation.

`knob_rows` holds accuracy by layer against s on both parts; `choice_rows` the s that validation
users prefer and what test users say of it, beside the country's model itself (s = 1);
`mixture_rows` several countries' models mixed with equal weights.
"""

from collections.abc import Sequence
from dataclasses import replace

from scpo.arrays import Row
from scpo.evaluation.pair_scores import GLOBAL, LENGTH, PairScores, split_label
from scpo.evaluation.panels import POOLED, Panel, pool_panels
from scpo.evaluation.steering_knob import knob_curve, mix_margins, preferred_share
from scpo.statistics.accuracy import layer_accuracies
from scpo.statistics.paired import paired_differences

UNSTEERED = (GLOBAL, LENGTH)


def knob_rows(panel: Panel, part: str, *, num_resamples: int, seed: int = 0) -> list[Row]:
    """Return accuracy by arm, s and layer on one part's pairs."""
    rows = []
    for arm, margin in panel.margins.items():
        if arm in UNSTEERED:
            continue
        curve = knob_curve(
            panel.margins[GLOBAL], margin, panel.user, num_resamples=num_resamples, seed=seed
        )
        head = {"country": panel.country, "arm": arm, "part": part}
        rows += [
            {**head, "share": point.share, "layer": layer, **accuracy.as_dict()}
            for point in curve
            for layer, accuracy in point.layers.items()
        ]
    return rows


def choice_rows(
    validation: Sequence[Panel],
    judged: Sequence[Panel],
    *,
    num_resamples: int,
    seed: int = 0,
) -> list[Row]:
    """Return, by country and arm, the s that validation prefers and how it does when judged.

    Where two countries or more have a choice of an arm, a pooled row judges all of them, each
    country at its own s.

    Args:
        validation: Panels of validation users; a pooled one is passed over.
        judged: Panels of the pairs that judge, such as those of test users.
        num_resamples: Bootstrap draws.
        seed: Seed of the draws.
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
            curve = knob_curve(reference, margin, chosen_on.user, num_resamples=1)
            share = preferred_share(curve)
            mixed = mix_margins(judged_on.margins, {GLOBAL: 1 - share, arm: share})
            three = {GLOBAL: judged_on.margins[GLOBAL], "whole": judged_on.margins[arm]}
            panel = replace(judged_on, margins={**three, "mixed": mixed})
            steered.setdefault(arm, []).append(panel)
            found: Row = {"share": share, "pairs_chosen_on": len(reference)}
            rows.append(_judge_choice(panel, arm, found, num_resamples, seed))
    for arm, panels in steered.items():
        if len(panels) > 1:
            pairs = sum(row["pairs_chosen_on"] for row in rows if row["arm"] == arm)
            found = {"share": None, "pairs_chosen_on": pairs}
            rows.append(_judge_choice(pool_panels(panels), arm, found, num_resamples, seed))
    return rows


def mixture_rows(scores: Sequence[PairScores], *, num_resamples: int, seed: int = 0) -> list[Row]:
    """Return, by country and arm, equal mixtures of all countries' models and of the others'.

    Args:
        scores: One part's pairs of each country.
        num_resamples: Bootstrap draws.
        seed: Seed of the draws.
    """
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
            if not margins:
                continue
            found = layer_accuracies(
                margins, each.reference_margin, each.user, num_resamples=num_resamples, seed=seed
            )
            rows += [
                {"country": each.country, "arm": arm, "mixture": name, "layer": layer}
                | accuracy.as_dict()
                for name, layers in found.items()
                for layer, accuracy in layers.items()
            ]
    return rows


def _judge_choice(panel: Panel, arm: str, found: Row, num_resamples: int, seed: int) -> Row:
    """Return the row of one choice, from a panel with the arms global, whole and mixed."""
    mixed = {"mixed": panel.margins["mixed"]}
    drawing = {"num_resamples": num_resamples, "seed": seed}
    overall = layer_accuracies(mixed, panel.reference_margin, panel.user, **drawing)
    row = {"country": panel.country, "arm": arm, **found}
    row |= overall["mixed"]["overall"].as_dict()
    for name, baseline in (("whole", "whole"), ("global", GLOBAL)):
        against = paired_differences(mixed, panel.margins[baseline], panel.user, **drawing)
        row |= against["mixed"].bootstrap.columns(f"against_{name}", f"against_{name}_")
    return row
