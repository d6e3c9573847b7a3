"""Rows of the study: records of one data set come in, pooled rows with intervals go out.

A question that several countries answered is drawn as one in pooled rows, with all answers.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from sweeps.ledger.pooled import PooledRow, find_row, gather_cells, pooled_rows, user_of_country
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import BASELINE, GLOBAL, LENGTH, POOLED, RANDOM, STUDY_ARMS

STUDY_BASELINES = (BASELINE, GLOBAL, LENGTH, RANDOM)


@dataclass(frozen=True)
class DataSetResult:
    """One data set on the page."""

    name: str  # its key in the configuration
    title: str
    about: str  # what the data are and are not
    method: str  # how arms were trained and judged
    unit: str  # "user" or "question"
    rows: Sequence[PooledRow]
    failed: int
    wall_s: float  # wall time of all calls that worked on it
    similarity: str = ""  # a further table in Markdown, "" for none
    remark: str = ""  # a sentence on that table for the closing paragraphs
    is_simulated: bool = False  # made up in part: it stands in no claim about real data

    @property
    def countries(self) -> list[str]:
        """The countries in the order of their rows."""
        return list(dict.fromkeys(row.country for row in self.rows if row.country != POOLED))

    def find(self, arm: str, country: str | None = None) -> PooledRow | None:
        """Return the row of an arm in a country, or over all; None where there is none."""
        return find_row(self.rows, country or self.rows[0].country, arm)


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
    )


def name_question(country: str, user: str) -> Hashable:
    """Return a question's name without its country in front, the same in all countries."""
    return user.removeprefix(f"{country}/")
