"""`scpo doctor`: facts of a cluster, turned into findings with advice.

In: an address and what a run needs. Out: findings. `program.py` runs where the cluster is and
travels with `probes.py`, `exchange.py` and `cluster/access/stores.py` alone.
May import: `cluster.access`.
"""
