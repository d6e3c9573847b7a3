"""Data-efficiency curves: records to points, fitted curves, pairs to a target.

In: records of trainings on growing parts of the pairs. Out: points, curves with bands, and how
many pairs an arm needs to reach an accuracy.
May import: `sweeps.ledger`, `scpo.statistics`. Needs neither torch nor Ray.
"""
