"""Which setting is tried next: space, samplers, one study per country, early stopping.

In: the ledger's records. Out: the next job. Optuna's studies and Tune's searcher and scheduler
are imported here.
May import: `sweeps.jobs`, `sweeps.ledger`, `sweeps.config`, `scpo`.
"""
