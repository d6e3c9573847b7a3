"""Rows of the study: records of one data set come in, pooled rows with intervals go out.

A question that several countries answered is drawn as one in pooled rows, with all answers.
"""

from collections.abc import Hashable, Sequence

from sweeps.ledger.pooled import PooledRow, gather_cells, pooled_rows, user_of_country
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import BASELINE, GLOBAL, LENGTH, RANDOM, STUDY_ARMS

STUDY_BASELINES = (BASELINE, GLOBAL, LENGTH, RANDOM)


def study_rows(records: Sequence[TrialRecord], unit: str) -> list[PooledRow]:
    """Return pooled rows, where there are two countries, then those of each country.

    There is one record a country, arm and seed, every user judged in each. `unit` is "user" or
    "question"; questions are one across countries.

    Raises:
        ValueError: Records of a country were judged on different pairs.
    """
    return pooled_rows(
        gather_cells(records, "validation"),  # the held-out side of a fold
        order=STUDY_ARMS,
        bases=STUDY_BASELINES,
        name_user=user_of_country if unit == "user" else name_question,
        everywhere=True,
    )


def name_question(country: str, user: str) -> Hashable:
    """Return a question's name without its country in front, the same in all countries."""
    return user.removeprefix(f"{country}/")
