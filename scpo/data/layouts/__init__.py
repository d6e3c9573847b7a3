"""Layouts: where rows lie, and what their columns mean.

In: a file, a folder of files, a saved data set or a name on the hub, with rows as any of the known
data sets has them. Out: rows of one prompt, one chosen and one rejected response each.
May import: `scpo.data.reading`, `scpo.files`.
"""
