"""The handlers of `scpo ...`, one module for each group of commands.

In: arguments of the command line. Out: files, tables in the terminal, the exit code. Heavy
imports stand inside the handlers, so that `scpo --help` is quick.
May import: everything; the only room of `scpo` that may import `sweeps` and `cluster`.
"""
