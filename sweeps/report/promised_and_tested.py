"""What the search promised and what the test found: one row per country.

In come rankings and the rows of the arms table; out comes, per country, the recommended
setting's validation figure, by how much choosing flatters it, and the test figure of the same
setting trained with other seeds, beside `full` and the global model on the same test pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.ledger.words import BASELINE
from sweeps.ranking.ranking import CountryRanking
from sweeps.report.arms_table import ArmRow


@dataclass(frozen=True)
class WinnerRow:
    """One country's recommended setting; accuracies are fractions 0..1.

    Attributes:
        country: Name of the country.
        validation: Accuracy that the search chose by.
        optimism: By how much it flatters; None with one validation user.
        expected: `validation - optimism`.
        tested: The row of `scpo_tuned` on test users, with its paired differences; or None.
        full: The row of `full` on test users, or None.
    """

    country: str
    validation: float
    optimism: float | None
    expected: float | None
    tested: ArmRow | None
    full: ArmRow | None


def winner_rows(rankings: Sequence[CountryRanking], arms: Sequence[ArmRow]) -> list[WinnerRow]:
    """Return a row for every country with a recommendation, in the order of the rankings."""
    by_arm = {(row.country, row.arm): row for row in arms}
    rows = []
    for ranking in rankings:
        chosen, optimism = ranking.recommended, ranking.optimism
        if chosen is not None:
            rows.append(
                WinnerRow(
                    country=ranking.country,
                    validation=chosen.accuracy,
                    optimism=optimism,
                    expected=None if optimism is None else chosen.accuracy - optimism,
                    tested=by_arm.get((ranking.country, "scpo_tuned")),
                    full=by_arm.get((ranking.country, BASELINE)),
                )
            )
    return rows
