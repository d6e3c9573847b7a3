"""One training as a job: its settings, pairs and folds, its record, the list of planned jobs.

In: a configuration and a country. Out: jobs to run, and the record of a job that has ended.
May import: `sweeps.ledger`, `sweeps.config`, `scpo`.
"""
