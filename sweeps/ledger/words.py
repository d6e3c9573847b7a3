"""The fixed words of records: arms, objectives, the row over all countries, names for files."""

import re

from scpo.method.arms import TRAINED_ARMS

TUNED_ARM = "scpo_tuned"
OBJECTIVES = ("validation_accuracy", "pairs_trained")  # up, down
POOLED = "pooled"
BASELINE = "full"
ARM_ORDER = (
    "global",
    "full",
    "filter",
    "weight",
    "inverse",
    "random_k",
    "scpo",
    "scpo_tuned",
)
GLOBAL, LENGTH = "global", "length"
UNTRAINED = (GLOBAL, LENGTH)
ARMS = (GLOBAL, "full", "filter", "weight", "inverse", "scpo", "random_k", LENGTH)
HEAD_ARMS = (*TRAINED_ARMS, TUNED_ARM)


def slug(country: str) -> str:
    """Return a country's name for file and trial names."""
    return re.sub(r"[^A-Za-z0-9]+", "-", country).strip("-").lower()
