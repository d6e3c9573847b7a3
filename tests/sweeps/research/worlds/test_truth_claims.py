"""Claims judged right on made-up figures."""

import numpy as np
import pytest
from scipy import stats

from sweeps.research.worlds.truth_claims import (
    FAILS,
    HOLDS,
    OPEN,
    PAPER_CLAIMS,
    judge_paper_claims,
    paper_claims_table,
)
from sweeps.research.worlds.world_arms import MEASURES

NOISE = np.array([-0.01, 0.0, 0.01, 0.0])


def figures(overall: float, distinctive: float = 0.2, noise: float = 0.0):
    """Four worlds of one arm: columns of MEASURES and pairs trained."""
    values = np.zeros((4, len(MEASURES) + 1))
    values[:, MEASURES.index("overall")] = overall + noise * NOISE
    values[:, MEASURES.index("distinctive")] = distinctive
    values[:, MEASURES.index("truth")] = overall
    return values


def made_up():
    """A world in which filter over-biases, inverse is worst and scpo ties with noise."""
    return {
        "shift": {
            ("", "global"): figures(0.70, 0.0),
            ("hard", "full"): figures(0.75, 0.3),
            ("hard", "filter"): figures(0.60, 0.6, noise=1.0),
            ("hard", "inverse"): figures(0.50, 0.8),
            ("hard", "weight"): figures(0.74, 0.1),
            ("hard", "scpo"): figures(0.755, 0.2, noise=3.0),
            ("hard", "random_k"): figures(0.70, 0.3),
            ("tuned", "full"): figures(0.76),
        }
    }


def judged(claim: str, measure: str = "overall"):
    found = [c for c in judge_paper_claims(made_up()) if (c.claim, c.measure) == (claim, measure)]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("claim", "measure", "verdict"),
    [
        ("filter > full", "distinctive", HOLDS),
        ("filter < full", "overall", HOLDS),
        ("filter < global", "overall", HOLDS),
        ("filter < inverse", "overall", FAILS),
        ("inverse < global", "overall", HOLDS),
        ("scpo > full", "distinctive", FAILS),
        ("scpo > full", "overall", OPEN),
        ("scpo > random_k", "overall", HOLDS),
    ],
)
def test_verdicts(claim, measure, verdict) -> None:
    assert judged(claim, measure).verdict == verdict


def test_the_difference_is_paired_by_world_with_students_interval() -> None:
    claim = judged("scpo > full")
    expected = stats.ttest_1samp(0.005 + 3 * NOISE, 0.0).confidence_interval(0.95)
    assert claim.difference.value == pytest.approx(0.005)
    found = claim.difference.low, claim.difference.high
    assert found == pytest.approx((expected.low, expected.high))
    assert (claim.world, claim.training, claim.num_seeds) == ("shift", "hard", 4)


def test_only_what_is_there_is_judged() -> None:
    claims = judge_paper_claims(made_up())
    assert {claim.world for claim in claims} == {"shift"}
    assert {claim.training for claim in claims} == {"hard"}  # tuned has no arm to compare
    assert len(claims) == sum("shift" in worlds for worlds, *_ in PAPER_CLAIMS)
    assert judge_paper_claims({}) == []


def test_claims_as_a_table() -> None:
    claims = judge_paper_claims(made_up())
    assert {claim.verdict for claim in claims} == {"holds", "does not", "cannot tell"}
    assert paper_claims_table(claims).row_count == len(claims)
