"""Reward models: load and check; LoRA, head and pooling; devices and memory.

In: a model folder or hub name. Out: a `LoadedModel` in memory, or an estimate of time and memory.
The room below it, `scpo.models.export`, writes a model's folder.
May import: `scpo.config`, `scpo.files`, `scpo.tokens` and the ground types.
"""
