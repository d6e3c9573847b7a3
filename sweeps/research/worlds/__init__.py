"""Made-up worlds whose truth is known: when the method pays, and claims about it.

In: settings of a world. Out: one result for each cell, tables, a map.
May import: `sweeps.probe`, `sweeps.ledger` and what lies below them.
"""
