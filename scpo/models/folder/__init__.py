"""A model's folder as files: what may come in, and what goes out beside the weights.

In: folders of files. Out: errors that name a file, scpo.json, the fields that other programs
read, the card. No model is loaded.
May import: `scpo.files`, `scpo.tokens`.
"""
