"""The fixed words of records: arms, objectives, the row over all countries, names for files."""

import re

from scpo.choices import POOLED as POOLED
from scpo.method.arms import TRAINED_ARMS

TUNED_ARM = "scpo_tuned"
OBJECTIVES = ("validation_accuracy", "pairs_trained")  # up, down
BASELINE = "full"
GLOBAL, LENGTH = "global", "length"
RANDOM = "random_k"
UNTRAINED = (GLOBAL, LENGTH)
ARMS = (GLOBAL, BASELINE, "filter", "weight", "inverse", "scpo", RANDOM, LENGTH)
STUDY_ARMS = (*ARMS[:-1], TUNED_ARM, LENGTH)
ARM_ORDER = (GLOBAL, BASELINE, "filter", "weight", "inverse", RANDOM, "scpo", TUNED_ARM)
CURVE_ORDER = (BASELINE, "scpo", RANDOM)
HEAD_ARMS = (*TRAINED_ARMS, TUNED_ARM)


def slug(country: str) -> str:
    """Return a country's name for file and trial names."""
    return re.sub(r"[^A-Za-z0-9]+", "-", country).strip("-").lower()
