"""Where jobs run: lanes of one device, sharded lanes, how many fit, progress.

In: jobs. Out: their records, in the order in which they end. Ray is imported here.
May import: `sweeps.search`, `sweeps.run`, `sweeps.ranking` and what lies below them.
"""
