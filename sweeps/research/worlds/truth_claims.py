"""What the paper says of its arms, as differences with a sign, and what worlds say of it.

A claim names a kind of world, two arms, a measure, and whether the first should be above or
below the second. Differences are paired by world. A claim holds where the 95 % interval of the
mean difference lies wholly on the claimed side, and does not where it lies wholly on the other;
where the interval includes 0, the worlds cannot tell. Each claim is judged at every training
strength that its arms have.

Reference:
    arXiv 2606.18606, the table of arms and the ablations. It has no world without a shift:
    claims about those are what its reasoning implies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from scpo.arrays import FloatArray
from scpo.statistics.bootstrap import Interval
from scpo.statistics.wording import format_difference
from scpo.text.terminal_table import terminal_table
from sweeps.research.worlds.world_arms import MEASURES
from sweeps.research.worlds.worlds import mean_interval

HOLDS, FAILS, OPEN = "holds", "does not", "cannot tell"
_VERDICTS = {1: HOLDS, -1: FAILS, 0: OPEN}  # by sign of the difference on the claimed side
SHIFTED, SAME = ("shift", "outliers"), ("no shift",)
Trained = tuple[str, str]  # training strength and arm; no strength where nothing is trained

# (worlds, first arm, sign, second arm, measure, in words)
PAPER_CLAIMS = (
    (SHIFTED, "filter", ">", "full", "distinctive", "filter learns more of the culture"),
    (SHIFTED, "filter", "<", "full", "overall", "filter over-biases"),
    (SHIFTED, "filter", "<", "global", "overall", "filter is worse than no training"),
    (SHIFTED, "filter", "<", "inverse", "overall", "filter is worse than inverse"),
    (SHIFTED, "inverse", "<", "global", "overall", "inverse is worse than no training"),
    (SHIFTED, "weight", "<", "full", "distinctive", "weight learns less of the culture"),
    (SHIFTED, "weight", "<", "full", "overall", "weight alone is less accurate"),
    (SHIFTED, "scpo", ">", "full", "distinctive", "scpo learns more of the culture"),
    (SHIFTED, "scpo", ">", "full", "overall", "scpo is more accurate"),
    (SHIFTED, "scpo", ">", "full", "truth", "scpo is truer to typical users"),
    (SHIFTED, "scpo", ">", "random_k", "overall", "the choice of pairs, not their number"),
    (SAME, "full", "<", "global", "overall", "without a shift full gains nothing"),
    (SAME, "scpo", "<", "global", "overall", "without a shift scpo gains nothing"),
    (SAME, "scpo", ">", "full", "overall", "without a shift scpo loses less"),
)


@dataclass(frozen=True)
class PaperClaim:
    """One claim in one kind of world at one training strength."""

    claim: str  # the arms and the sign, as "scpo > full"
    meaning: str  # in words
    world: str  # kind of world
    training: str  # training strength of the arms, or "tuned"
    measure: str  # of `MEASURES`
    difference: Interval  # mean over worlds of first minus second arm, in -1..1
    verdict: str  # "holds", "does not" or "cannot tell"
    num_seeds: int  # worlds


def judge_paper_claims(figures: Mapping[str, Mapping[Trained, FloatArray]]) -> list[PaperClaim]:
    """Return every claim about kinds of worlds and arms that `figures` holds.

    Its arrays are `MEASURES` over seeds, of shape (W, 4 or more).
    """
    judged = []
    for worlds, first, sign, second, measure, meaning in PAPER_CLAIMS:
        column = MEASURES.index(measure)
        for world in (name for name in worlds if name in figures):
            arms = figures[world]
            for training in dict.fromkeys(training for training, _ in arms):
                ours = arms.get((training, first))
                theirs = arms.get(("" if second == "global" else training, second))
                if ours is None or theirs is None:
                    continue
                difference = mean_interval(ours[:, column] - theirs[:, column])
                verdict = _VERDICTS[difference.sign * (1 if sign == ">" else -1)]
                names = (f"{first} {sign} {second}", meaning, world, training, measure)
                judged.append(PaperClaim(*names, difference, verdict, len(ours)))
    return judged


def paper_claims_table(claims: Sequence[PaperClaim]) -> Table:
    """Return the claims as a table for the terminal, differences in points."""
    columns = ("claim", "meaning", "world", "training", "measure", "verdict", "points")
    lines = [
        (*(getattr(claim, name) for name in columns[:-1]), format_difference(claim.difference))
        for claim in claims
    ]
    title = "What the paper says, on worlds of known truth"
    return terminal_table(title, columns, [lines], left=columns[:-1])
