"""Research: what the method is worth, on real data and in made-up worlds.

Not needed to train, search or rank. In: a study's configuration. Out: STUDY.md and the figures of
the worlds.
May import: everything of `sweeps`; nothing but `scpo.commands` imports it.
"""
