"""A trained reward model to a folder that transformers and other programs read.

In: a model in memory, or its gathered weights, and texts with their rewards. Out: a folder that
was read back and scores alike, with its scpo.json, other programs' fields and its card.
May import: `scpo.models`, `scpo.tokens`, `scpo.files`.
"""
