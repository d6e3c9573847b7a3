"""Many trainings: search per country, ranking, data-efficiency curves, report."""
