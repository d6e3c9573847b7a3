"""Reaching a cluster: profile, token, dashboard.

In: the name of a profile or an address. Out: settings, a connected client.
May import: nothing else of this project but `scpo.files`, `scpo.text` and `scpo.choices`.
"""
