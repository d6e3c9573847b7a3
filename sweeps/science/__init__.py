"""Synthetic worlds whose truth is known: what the method does, and when it pays."""
