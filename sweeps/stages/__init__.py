"""The stages of a sweep in order: search, finals and curves, ablation; the whole sweep.

In: a configuration and a run's folder. Out: a ledger that holds every planned training.
May import: `sweeps.lanes`, `sweeps.probe`, `sweeps.cost` and what lies below them.
"""
