"""Reward models compared with a country's survey answers (GlobalOpinionQA).

In: reward models and the distributions of answers by country. Out: distances between the two,
with intervals, as tables.
May import: `scpo.countries`, `scpo.data.sources`, `scpo.statistics` and what lies below them.
"""
