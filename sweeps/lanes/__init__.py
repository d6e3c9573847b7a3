"""Where jobs run: Tune lanes, the sharded lane, how many fit, who waits, progress.

In: jobs. Out: their records, in the order in which they end. Ray is imported here.
May import: `sweeps.search`, `sweeps.run`, `sweeps.ranking` and what lies below them.
"""
