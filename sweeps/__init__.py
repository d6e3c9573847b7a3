"""Many trainings: search per country, ranking, data-efficiency curves, report.

At the top stands only the configuration of a sweep; each part of a sweep has a room below.
`research` is not needed to train, search or rank. May import: `scpo`, never `cluster`.
"""
