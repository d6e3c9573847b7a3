"""`scpo doctor`: facts of a cluster, turned into findings with advice.

In: an address and what a run needs. Out: findings. `program.py` runs on the cluster: only it,
`probes.py`, `exchange.py` and `scpo/files/places.py` are sent there.
May import: `cluster.access`, `scpo.files`.
"""
