"""Linear heads on frozen features: thousands at once, chosen in folds, as table and as curves.

In: features and pairs of a country. Out: the heads' accuracies and points for the search.
May import: `sweeps.search`, `sweeps.run`, `sweeps.ranking` and what lies below them.
"""
