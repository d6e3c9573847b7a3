"""Files and folders: written whole or not at all, in buckets, cached in parts; CSV; figure style.

In: paths, bucket URIs, bytes, rows, figures. Out: files that are complete or absent, the
provenance that a record keeps, and the count of how far this process has come. Knows nothing of
preferences or models.
May import: nothing else of this project.
"""
