"""The ledger: one record for each training, and what is read from records.

In: records of finished trainings. Out: the same records, counts by user, pooled rows by country
and arm, equal settings, and the fixed words of records (arms, objectives, the pooled row).
May import: `sweeps.config`, `scpo`. Needs neither torch nor Ray.
"""
