"""A run's folder and what must be in it before the first trial.

In: a configuration and a place. Out: the folder with data, global model and countries, and its
copy in a bucket.
May import: `sweeps.ledger`, `sweeps.config`, `scpo`.
"""
