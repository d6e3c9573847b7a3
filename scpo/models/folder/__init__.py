"""A model's folder as files: what may come in, and scpo.json beside the weights.

In: folders of files. Out: errors that name a file, and the facts of scpo.json. No model is loaded.
May import: `scpo.files`, `scpo.text`.
"""
