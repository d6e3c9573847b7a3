"""Annotators made up for pairs that are known: of some, every choice or some choices are wrong.

Arms are trained on what they say, and judged by the pairs as they are.
"""

import numpy as np

from scpo.heads.linear_heads import ProbedPairs
from sweeps.research.study.study_config import AnnotatorsConfig


def simulate_annotators(pairs: ProbedPairs, config: AnnotatorsConfig, seed: int) -> ProbedPairs:
    """Return P pairs as made-up annotators choose; each has all pairs of some of the users.

    The users of the result are the annotators.
    """
    _, user = np.unique(pairs.user, return_inverse=True)
    rng = np.random.default_rng(seed)
    annotator = rng.integers(config.number, size=user.max() + 1)[user]
    num_bad = round(config.unreliable * config.number)
    turns = np.isin(annotator, rng.choice(config.number, num_bad, replace=False))
    if config.choice == "against global":
        turns &= pairs.reference_margin > 0
    sign = np.where(turns, -1.0, 1.0)
    return ProbedPairs(
        (pairs.differences * sign[:, None]).astype(pairs.differences.dtype),
        pairs.offset * sign,
        pairs.reference_margin * sign,
        np.char.mod("annotator-%03d", annotator),
    )
