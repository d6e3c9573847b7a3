"""The ledger: one record for each training, and what is read from records.

In: records of finished trainings. Out: the same records, counts by user, equal settings, and the
fixed words that records use (arms, objectives, the pooled row).
May import: `sweeps.config`, `scpo`. Needs neither torch nor Ray.
"""
