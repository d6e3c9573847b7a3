"""The Python API of sweeps, `scpo.sweep` and `scpo.Run`, also what `scpo sweep` runs.

In: a configuration by name, file or values, or the folder of a run. Out: its results as
DataFrames, its models and studies. `scpo/__init__.py` reaches it by name alone and only when it
is used, so that scpo does not depend on sweeps.
May import: `scpo` and every room of `sweeps` but `research`.
"""
