"""Texts to tokens: flat token arrays and batches of whole interactions.

In: prompts and responses, a tokenizer. Out: token ids in one flat array with offsets, cut to
length, cached in files and dealt into batches. No model.
May import: `scpo.arrays`, `scpo.choices`, `scpo.files`.
"""
