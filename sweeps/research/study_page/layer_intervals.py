"""A layer's accuracy (distinctive or consensus pairs) over seeds and countries, with an interval.

Records hold counts by user of all pairs only; of a layer they hold the accuracy and its own 95 %
interval. What is known of those gives an interval that is rather too wide than too narrow:

    seeds       halves are averaged: a mean of seeds is no less sure than they are on average
    users       countries have users of their own: halves join as independent errors do
    questions   countries answer the same ones: halves join as if all erred together
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.ledger.records import AccuracyRecord


@dataclass(frozen=True)
class Layer:
    """One arm on one layer, counted in pairs.

    Attributes:
        right: Pairs ordered right, mean over seeds.
        pairs: All pairs of the layer.
        below: Pairs from the lower end of the interval up to `right`; None without an interval.
        above: Pairs from `right` up to the upper end.
    """

    right: float
    pairs: int
    below: float | None
    above: float | None

    @property
    def ends(self) -> tuple[float | None, float | None, float | None]:
        """Accuracy, low and high, 0..1; None without pairs, or without an interval."""
        if not self.pairs:
            return None, None, None
        value = self.right / self.pairs
        if self.below is None or self.above is None:
            return value, None, None
        below, above = self.below / self.pairs, self.above / self.pairs
        return value, max(value - below, 0.0), min(value + above, 1.0)


def average_seeds(records: Sequence[AccuracyRecord]) -> Layer:
    """Return a layer of one country, judged once a seed on the same pairs."""
    pairs = records[0].pairs
    values = [(record.accuracy or 0.0, record.low, record.high) for record in records]
    below = [value - low for value, low, _ in values if low is not None]
    above = [high - value for value, _, high in values if high is not None]
    known = len(below) == len(above) == len(records)
    return Layer(
        pairs * math.fsum(value for value, _, _ in values) / len(records),
        pairs,
        pairs * math.fsum(below) / len(records) if known else None,
        pairs * math.fsum(above) / len(records) if known else None,
    )


def join_countries(layers: Sequence[Layer], unit: str) -> Layer:
    """Return the layers of several countries as one.

    Args:
        layers: One a country; without an interval where one with pairs has none.
        unit: "user" or "question", what the intervals were drawn by.
    """
    held = [layer for layer in layers if layer.pairs]
    return Layer(
        math.fsum(layer.right for layer in held),
        sum(layer.pairs for layer in held),
        _join([layer.below for layer in held], unit),
        _join([layer.above for layer in held], unit),
    )


def _join(halves: Sequence[float | None], unit: str) -> float | None:
    """Return halves of intervals of sums as the half of all of them."""
    known = [half for half in halves if half is not None]
    if len(known) < len(halves):
        return None
    return math.hypot(*known) if unit == "user" else math.fsum(known)
