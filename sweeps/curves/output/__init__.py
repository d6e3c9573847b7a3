"""Those curves as figures, LaTeX and files.

In: points and fitted curves. Out: SVG and PNG figures, tables for a paper.
May import: `sweeps.curves`, `scpo.files` and what lies below them.
"""
