"""Data-efficiency curves: accuracy against pairs, with fits, bands and pairs to a target."""
