"""The data sources: PRISM, pairs files, GlobalOpinionQA, synthetic cultures; `scpo prepare`.

In: files or hub data sets. Out: interactions in one schema, whatever they came from.
May import: `scpo.config`, `scpo.data`, `scpo.data.reading`, `scpo.files`.
"""
