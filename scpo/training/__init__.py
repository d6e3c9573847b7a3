"""One training on one device: passes, loss, loop, engines, checkpoints, warm-start proof.

In: a reward model, weighted pairs and a `TrainingConfig`. Out: a trained model folder and its
figures; the global model is trained here too.
May import: `scpo.countries` and everything below it. Knows neither Ray nor DeepSpeed.
"""
