"""A layer's interval from older records, which do not count the layer by user.

Of a layer (distinctive or consensus pairs) they hold only the accuracy and its own interval. The
pairs from the accuracy to each end (its reach) join to an interval that is rather too wide:

    seeds       reaches are averaged: a mean of seeds is no less sure than they are on average
    users       countries have users of their own: reaches join as independent errors do
    questions   countries answer the same ones: reaches join as if all erred together
"""

import math
from collections.abc import Sequence

from scpo.statistics.bootstrap import Interval
from sweeps.ledger.pooled import Cell
from sweeps.ledger.records import AccuracyRecord


def widen_layer(figure: Interval, cells: Sequence[Cell], layer: str, unit: str) -> Interval:
    """Return a layer's accuracy with an interval; none where a record with pairs has none.

    Args:
        figure: The accuracy; it is returned as it is where its interval is known.
        cells: What it is pooled from, one a country.
        layer: "distinctive" or "consensus".
        unit: "user" or "question", what the intervals were drawn by.
    """
    of_cells = [[getattr(found, layer) for found in cell.evaluations] for cell in cells]
    held = [records for records in of_cells if records[0].pairs]
    pairs = sum(records[0].pairs for records in held)
    has_ends = all(record.low is not None for records in held for record in records)
    if figure.value is None or figure.low is not None or not has_ends:
        return figure
    join = math.hypot if unit == "user" else lambda *reaches: math.fsum(reaches)
    below = join(*(_reach(records, "low") for records in held)) / pairs
    above = join(*(_reach(records, "high") for records in held)) / pairs
    low, high = max(figure.value - below, 0.0), min(figure.value + above, 1.0)
    return Interval(figure.value, low, high, figure.users)


def _reach(records: Sequence[AccuracyRecord], end: str) -> float:
    """Return the pairs from the accuracy of one country to an end, mean over seeds."""
    reaches = [abs(getattr(record, end) - (record.accuracy or 0.0)) for record in records]
    return records[0].pairs * math.fsum(reaches) / len(reaches)
