"""Records to rankings: Pareto front, recommendation, selection bias, importance, one setting.

In: records of the search and the finals. Out: one ranking for each country.
May import: `sweeps.ledger`, `scpo.statistics`, `scpo.files`. Needs neither torch nor Ray.
"""
