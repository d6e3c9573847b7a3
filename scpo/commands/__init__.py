"""The commands of `scpo`, a module for each kind of work."""
