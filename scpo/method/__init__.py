"""SCPO itself, on arrays: filter, weights, strength and retention, arms.

In: reward margins and signs of pairs. Out: the pairs kept and their weights. No text, no
model, no file, no configuration.
May import: `scpo.arrays`. Needs neither torch nor Ray; the loss is in `scpo.training`.
"""
