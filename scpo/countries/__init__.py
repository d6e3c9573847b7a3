"""One country as arrays: responses scored once by the global model, users split, features kept.

In: interactions and the global model. Out: `CountryData` with margins, splits and pairs; scores
and features are cached by content.
May import: `scpo.models` and what that may import, `scpo.data`, `scpo.method`.
"""
