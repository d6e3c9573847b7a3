"""Every arm on real data: linear heads on frozen features, and fine-tuning.

In: the study's configuration and data sets. Out: one result for each cell, kept in files.
May import: all rooms of `sweeps` but those of the page and the worlds.
"""
