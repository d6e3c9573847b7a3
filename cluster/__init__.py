"""Ray clusters: profiles, job submission and `scpo doctor`.

At the top stand only the profiles (`profiles/`); `access` reaches a cluster, `jobs` and `doctor`
use it. May import: `scpo.files` and `scpo.choices` at most, never `sweeps`.
"""
