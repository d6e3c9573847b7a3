"""SCPO: reward models that represent the preferences of one country's people.

This package holds the method and the training of one reward model. Searching over many
trainings is in `sweeps`, running on a Ray cluster in `cluster`.

Reference:
    Steerable Cultural Preference Optimization of Reward Models, arXiv 2606.18606.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PLACES = {"reward_function": "scpo.countries.reward_function"}


def __getattr__(name: str) -> Any:
    """Return what the package offers; torch is imported only for what needs it."""
    if name not in _PLACES:
        raise AttributeError(f"module 'scpo' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
