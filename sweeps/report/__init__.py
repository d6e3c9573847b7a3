"""Rankings and arms as CSV files, terminal tables and an HTML page.

In: rankings, records and curves of a run. Out: the run's tables and its report.
May import: `sweeps.ranking`, `sweeps.curves` and what lies below them. Needs neither torch nor
Ray.
"""
