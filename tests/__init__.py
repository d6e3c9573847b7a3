"""Tests; this file keeps tests/scpo from shadowing the package scpo on sys.path."""
