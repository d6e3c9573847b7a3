"""The study of real data: every arm on three data sets, and the page that tells of it."""
