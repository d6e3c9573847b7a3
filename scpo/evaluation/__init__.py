"""Rewards of many models on held-out pairs, turned into tables.

In: models by label, a prepared folder, the global model. Out: rewards by pair, and tables of
accuracy, calibration, length bias, steering weight and other countries.
May import: `scpo.countries`, `scpo.statistics` and what lies below them.
"""
