"""Interactions: the table of preferences, its splits by user, its pairs as arrays.

In: the rows that `scpo.data.sources` prepares. Out: a checked table, train, validation and test
users, index arrays of pairs.
May import: `scpo.arrays`, `scpo.files`, `scpo.statistics`. The rooms below it read and
prepare the rows.
"""
