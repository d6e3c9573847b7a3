"""What the paper's pattern says of the arms, held against the pooled rows of each data set.

A claim names two arms and a direction. It held where the 95 % interval of their paired difference
lies on its side of 0, the opposite was found where it lies on the other, and else the data do not
tell the arms apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sweeps.ledger.words import BASELINE, GLOBAL, LENGTH, POOLED, TUNED_ARM
from sweeps.research.study_page.rows import RANDOM, Interval, StudyRow, find_row

Verdict = Literal["held", "opposite", "not told apart"]


@dataclass(frozen=True)
class Claim:
    """`arm` is above (1) or below (-1) `other` in overall accuracy."""

    arm: str
    other: str
    direction: int
    why: str

    @property
    def text(self) -> str:
        """Return the claim in words."""
        side = "above" if self.direction > 0 else "below"
        return f"`{self.arm}` {side} `{self.other}`"


@dataclass(frozen=True)
class Finding:
    """A claim on one data set: the difference and what it says."""

    claim: Claim
    data_set: str
    difference: Interval
    verdict: Verdict


CLAIMS = (
    Claim(BASELINE, GLOBAL, 1, "a country's own pairs teach something"),
    Claim(BASELINE, LENGTH, 1, "and it is more than length"),
    Claim("scpo", BASELINE, 1, "the paper's claim, with its constants"),
    Claim(TUNED_ARM, BASELINE, 1, "the same, tuned per country within folds"),
    Claim("scpo", RANDOM, 1, "the choice of pairs counts, not their number"),
    Claim("filter", BASELINE, -1, "the filter alone over-biases"),
    Claim("inverse", BASELINE, -1, "trusting extreme disagreement more does harm"),
    Claim("weight", BASELINE, -1, "the weight alone learns little"),
)


def judge_claims(rows: Mapping[str, Sequence[StudyRow]]) -> list[Finding]:
    """Return every claim on every data set that has both arms.

    Args:
        rows: Rows by the data set's title; pooled ones are taken, or those of a lone country.
    """
    findings = []
    for claim in CLAIMS:
        for title, given in rows.items():
            row = find_row(given, POOLED, claim.arm) or find_row(
                given, given[0].country, claim.arm
            )
            if row is not None and claim.other in row.against:
                difference = row.against[claim.other]
                verdict = _verdict(difference.sign * claim.direction)
                findings.append(Finding(claim, title, difference, verdict))
    return findings


def _verdict(agreement: int) -> Verdict:
    """Return the verdict of 1, -1 or 0."""
    if agreement == 0:
        return "not told apart"
    return "held" if agreement > 0 else "opposite"
