"""What a setting loses where the global model is right, judged by an interval and not by a point.

In come records with counts by user; out comes, per setting, the drop of its consensus accuracy
below the global model's with its 95 % interval by user. A setting breaks the constraint where the
whole interval lies above what is allowed: it is *shown* to lose more. Few pairs show nothing, so
such settings are feasible and marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scpo.statistics.bootstrap import Interval
from sweeps.ledger.consensus_drop import CONSENSUS_DROP, drop_interval
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.user_counts import UserMatrix


@dataclass(frozen=True)
class ConsensusVerdict:
    """What a setting loses of the consensus, a fraction of its pairs."""

    drop: Interval  # of no value where the record does not count the layers by user
    violation: float  # by how much it is shown to lose too much, and other constraints are broken
    told: bool  # whether the interval lies on one side of what is allowed

    @property
    def words(self) -> str:
        """What is to be said of it; "" where it is shown to keep the constraint."""
        if self.violation > 0:
            return f"breaks the constraint by {100 * self.violation:.1f}"
        return "" if self.told else "whether it keeps the consensus cannot be told"


def judge_consensus(
    records: Sequence[TrialRecord], counts: UserMatrix, max_drop: float
) -> list[ConsensusVerdict]:
    """Return the verdict on each of S records, whose counts are in the same order.

    A record of an earlier version, which does not count the layers by user, is judged by the
    constraint that it holds.
    """
    layer = counts.layer("consensus")
    verdicts = []
    for row, record in enumerate(records):
        others = sum(max(0.0, v) for k, v in record.constraints.items() if k != CONSENSUS_DROP)
        if layer is None:
            violation = max(0.0, record.constraints.get(CONSENSUS_DROP, 0.0))
            none = Interval(None, None, None, 0)
            verdicts.append(ConsensusVerdict(none, violation + others, violation > 0))
            continue
        right, pairs = layer
        drop = drop_interval(right[row], pairs)
        low, high = drop.low or 0.0, 1.0 if drop.high is None else drop.high
        violation = max(0.0, low - max_drop)
        verdicts.append(
            ConsensusVerdict(drop, violation + others, violation > 0 or high <= max_drop)
        )
    return verdicts
