"""Linear reward heads on fixed features, as arrays: their training, out-of-fold margins of users.

In: pairs as differences of features, with the user of each. Out: heads and margins.
May import: `scpo.arrays`, `scpo.files`, `scpo.method`, `scpo.statistics`. Knows no model or text.
"""
