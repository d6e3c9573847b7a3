"""Checked rows of any file: JSONL, CSV, Parquet, TRL's columns.

In: a path. Out: rows whose fields were checked; bad rows are counted and kept apart in a
quarantine file, each with its reason.
May import: `scpo.files`.
"""
