"""The Python API: what `import scpo` offers, thin over the rooms that do the work.

In: names of models, DataFrames, data sets. Out: rewards as arrays, trained models, tables. The
names are listed in `scpo/__init__.py`, which imports them when they are first used.
May import: every room of `scpo` but `commands`; sweeps have theirs in `sweeps.api`.
"""
