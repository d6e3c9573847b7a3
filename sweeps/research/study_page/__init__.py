"""STUDY.md, written from the study's results.

In: results of the study's cells. Out: tables, claims with their evidence, the page.
May import: `sweeps.research.study`, `sweeps.ledger` and what lies below them.
"""
