"""Reward models: load, save, export and check; LoRA, head and pooling; devices and memory.

In: a model folder or hub name. Out: a `LoadedModel` in memory, a folder that transformers loads,
or an estimate of time and memory.
May import: `scpo.config`, `scpo.files`, `scpo.tokens` and the ground types.
"""
