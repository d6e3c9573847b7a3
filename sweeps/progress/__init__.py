"""How far a sweep is: while it trains, and for whoever watches its folder.

In: records. Out: a live table or lines. May import: `sweeps.ranking` and what lies below it.
"""
