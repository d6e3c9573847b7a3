"""Training and scoring on many devices with Ray, Ray Train and DeepSpeed.

In: the same arguments as on one device, and the number of workers. Out: the same results.
The only room of `scpo` that imports ray or deepspeed.
May import: `scpo.training` and everything below it.
"""
