"""Evaluation: how well reward models order held-out pairs, and what else they lean on."""
