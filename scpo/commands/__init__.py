"""The commands `scpo ...`, one module for each group.

In: arguments of the command line. Out: files, tables in the terminal, the exit code. Heavy
imports are inside the commands, so that `scpo --help` is quick.
May import: everything; the only room of `scpo` that may import `sweeps` and `cluster`.
"""
