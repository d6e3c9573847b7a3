"""Rows of the study: records of one data set come in, pooled rows with intervals go out.

A question that several countries answered is drawn as one in pooled rows, with all answers.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace

from sweeps.ledger.pooled import Cell, PooledRow, gather_cells, pooled_rows, user_of_country
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import BASELINE, GLOBAL, LENGTH, POOLED, RANDOM, STUDY_ARMS
from sweeps.research.study_page.layer_intervals import widen_layer

STUDY_BASELINES = (BASELINE, GLOBAL, LENGTH, RANDOM)


def study_rows(records: Sequence[TrialRecord], unit: str) -> list[PooledRow]:
    """Return pooled rows, where there are two countries, then those of each country.

    There is one record a country, arm and seed, every user judged in each. `unit` is "user" or
    "question"; questions are one across countries.

    Raises:
        ValueError: Records of a country were judged on different pairs.
    """
    cells = gather_cells(records, "validation")  # the held-out side of a fold
    rows = pooled_rows(
        cells,
        order=STUDY_ARMS,
        bases=STUDY_BASELINES,
        name_user=user_of_country if unit == "user" else name_question,
        everywhere=True,
    )
    return [_widen_layers(row, cells, unit) for row in rows]


def name_question(country: str, user: str) -> Hashable:
    """Return a question's name without its country in front, the same in all countries."""
    return user.removeprefix(f"{country}/")


def _widen_layers(row: PooledRow, cells: Sequence[Cell], unit: str) -> PooledRow:
    """Return a row whose layers have intervals, also where records do not count them by user."""
    own = [c for c in cells if c.arm == row.arm and row.country in (POOLED, c.country)]
    return replace(
        row,
        distinctive=widen_layer(row.distinctive, own, "distinctive", unit),
        consensus=widen_layer(row.consensus, own, "consensus", unit),
    )
