"""Human preferences as interactions: readers, checks, splits and a synthetic source."""
