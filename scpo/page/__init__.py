"""Parts of self-contained HTML pages: the frame, tables that sort, charts with tooltips.

In: plain values, figures with intervals, finished Markup. Out: HTML with inline CSS, JavaScript
and SVG that asks nothing of any network.
May import: `scpo.statistics`, `scpo.text`. Needs neither torch nor Ray.
"""
