"""SCPO: reward models that represent the preferences of one country's people.

This package holds the method and the training of one reward model. Searching over many
trainings is in `sweeps`, running on a Ray cluster in `cluster`.

Reference:
    Steerable Cultural Preference Optimization of Reward Models, arXiv 2606.18606.
"""

__version__ = "0.1.0"
