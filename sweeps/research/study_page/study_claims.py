"""The paper's pattern as claims about two arms, each judged by the pooled rows of a data set.

A claim held where the 95 % interval of the paired difference lies on its side of 0, the opposite
was found where it lies on the other side, and else the data do not tell the arms apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scpo.statistics.bootstrap import Interval
from sweeps.ledger.pooled import PooledRow, find_row
from sweeps.ledger.words import BASELINE, GLOBAL, LENGTH, RANDOM, TUNED_ARM

Verdict = Literal["held", "opposite", "not told apart"]

_VERDICTS: dict[int, Verdict] = {1: "held", -1: "opposite", 0: "not told apart"}


@dataclass(frozen=True)
class ArmClaim:
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
class JudgedClaim:
    """A claim on one data set: the difference and what it says."""

    claim: ArmClaim
    data_set: str
    difference: Interval

    @property
    def verdict(self) -> Verdict:
        """Whether the claim held."""
        return _VERDICTS[self.difference.sign * self.claim.direction]


CLAIMS = (
    ArmClaim(BASELINE, GLOBAL, 1, "a country's own pairs teach something"),
    ArmClaim(BASELINE, LENGTH, 1, "and it is more than length"),
    ArmClaim("scpo", BASELINE, 1, "the paper's claim, with its constants"),
    ArmClaim(TUNED_ARM, BASELINE, 1, "the same, tuned per country within folds"),
    ArmClaim("scpo", RANDOM, 1, "the choice of pairs counts, not their number"),
    ArmClaim("filter", BASELINE, -1, "the filter alone over-biases"),
    ArmClaim("inverse", BASELINE, -1, "trusting extreme disagreement more does harm"),
    ArmClaim("weight", BASELINE, -1, "the weight alone learns little"),
)


def judge_claims(rows: Mapping[str, Sequence[PooledRow]]) -> list[JudgedClaim]:
    """Return every claim on every data set that has both arms.

    Rows are by the data set's title; the first are pooled, or those of a lone country.
    """
    judged = []
    for claim in CLAIMS:
        for title, of_set in rows.items():
            row = find_row(of_set, of_set[0].country, claim.arm)
            if row is not None and claim.other in row.against:
                judged.append(JudgedClaim(claim, title, row.against[claim.other]))
    return judged
