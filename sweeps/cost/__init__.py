"""What a sweep selects, how long it takes and what it needs, before it starts.

In: a configuration. Out: pairs kept by setting, estimates of time, memory and disk, for
`scpo plan` and `scpo doctor`.
May import: `sweeps.search`, `sweeps.run` and what lies below them.
"""
