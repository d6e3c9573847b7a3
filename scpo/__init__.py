"""SCPO: reward models that represent the preferences of one country's people.

This package holds the method and the training of one reward model. Searching over many
trainings is in `sweeps`, running on a Ray cluster in `cluster`.

What it offers is listed below and, for type checkers, in `__init__.pyi`. Each name is imported
when it is first used, so that `import scpo` takes milliseconds and loads neither torch nor Ray;
only so are the two of `sweeps` reached.

Reference:
    Steerable Cultural Preference Optimization of Reward Models, arXiv 2606.18606.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

_PLACES = {
    "Mixture": "scpo.api.models",
    "Preferences": "scpo.api.preferences",
    "RewardModel": "scpo.api.models",
    "Run": "sweeps.api.run_results",
    "mix": "scpo.api.models",
    "sweep": "sweeps.api.start",
    "train": "scpo.api.training",
}


def __getattr__(name: str) -> Any:
    """Return what the package offers."""
    if name not in _PLACES:
        raise AttributeError(f"module 'scpo' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    """Return the names of the package, those that are not imported yet among them."""
    return sorted({*globals(), *_PLACES})
