"""The evaluation's tables for people: terminal, figures, model cards; `scpo evaluate`.

In: the tables of `scpo.evaluation`. Out: printed tables, SVG and PNG figures, a README.md for
each model folder.
May import: `scpo.evaluation` and everything below it.
"""
