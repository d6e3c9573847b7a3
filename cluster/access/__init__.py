"""Reaching a cluster: profile, token, dashboard, buckets.

In: the name of a profile or an address. Out: settings, a connected client, an open bucket.
May import: nothing else of this project but `scpo.files` and `scpo.choices`.
"""
