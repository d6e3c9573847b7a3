"""Experiment trackers: a run of a sweep as a parent, each training as a child.

In: records of a run, its configuration and the files made of them. Out: what a tracker shows.
May import: `sweeps.ledger` and what lies below it; a tracker's package only where it is asked for.
"""
