"""Jobs on a cluster: send, follow, stop, fetch.

In: a configuration and a profile. Out: a submitted job, its log, its fetched run.
`packing.py` runs on the cluster by itself and imports only the standard library.
May import: `cluster.access`.
"""
