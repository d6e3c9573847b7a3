"""The fixed words of records: arms, objectives, the row over all countries, names for files."""

import re

from scpo.choices import POOLED as POOLED
from scpo.files.atomic import hash_name
from scpo.method.arms import TRAINED_ARMS

TUNED_ARM = "scpo_tuned"
OBJECTIVES = ("validation_accuracy", "pairs_trained")  # up, down
BASELINE = "full"
GLOBAL, LENGTH = "global", "length"
RANDOM = "random_k"
KEPT_GLOBAL = 0.0  # retention of a final of TUNED_ARM that keeps the global model: no pair
USER = "user"
TUNED_USER = f"{TUNED_ARM}+{USER}"  # searches weights of pairs and of users
UNTRAINED = (GLOBAL, LENGTH)
ARMS = (GLOBAL, BASELINE, "filter", "weight", "inverse", "scpo", RANDOM, USER, LENGTH)
STUDY_ARMS = (*ARMS[:-1], TUNED_ARM, LENGTH)
ARM_ORDER = (
    *(GLOBAL, BASELINE, "filter", "weight", "inverse", RANDOM, "scpo"),
    *(USER, TUNED_ARM, TUNED_USER),
)
CURVE_ORDER = (BASELINE, "scpo", USER, RANDOM)
HEAD_ARMS = (*TRAINED_ARMS, TUNED_ARM)
TESTED_HEADS = (BASELINE, "scpo", TUNED_ARM, USER, TUNED_USER)


_SMALL_WORDS = {"and", "of", "the"}
_OWN_WORDS = {"final", "curve", "ablate", "head"}  # of trial ids, which follow the country
_RESERVED = {"con", "prn", "aux", "nul"}  # as names of files, on Windows
_LONGEST = 48  # characters; a longer name is cut


def slug(name: str) -> str:
    """Return a name for files, trial ids and studies; different names have different ones.

    A plain name ("United States", "USA") is its words in small letters. Any other is what is left
    of it after that, and a hash of the name itself, after an underscore that no plain one has.
    """
    words = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()
    parts = words.split("-")
    capital = (part if part in _SMALL_WORDS else part.capitalize() for part in parts)
    spelt = words.upper() if len(words) <= 3 else " ".join(capital)
    is_known = _OWN_WORDS.isdisjoint(parts) and words not in _RESERVED
    if name and name == spelt and is_known and len(words) <= _LONGEST:
        return words
    return f"{words[:_LONGEST].strip('-') or 'name'}_{hash_name(name)}"
