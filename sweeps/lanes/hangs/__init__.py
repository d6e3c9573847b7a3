"""Lanes that hang: told, and ended so that another goes on.

In: signs that the processes of lanes send. Out: lines, and killed processes.
May import: `scpo.files.pulse` and `scpo.text`.
"""
