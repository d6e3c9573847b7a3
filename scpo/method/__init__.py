"""SCPO itself, on arrays: filter, weights, strength and retention, arms, loss.

In: reward margins and signs of pairs. Out: the pairs kept, their weights, the loss. No text, no
model, no file, no configuration.
May import: `scpo.arrays`.
"""
