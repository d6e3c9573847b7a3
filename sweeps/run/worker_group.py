"""The workers that a configuration's lanes are made of."""

from scpo.distributed.ray_training import WorkerGroup
from sweeps.config import LanesConfig


def worker_group(lanes: LanesConfig) -> WorkerGroup:
    """Return the workers of one lane."""
    return WorkerGroup(
        lanes.workers,
        zero_stage=lanes.zero_stage,
        offload=lanes.offload,
        use_gpu=lanes.gpus > 0,
        cpus=lanes.cpus,
    )
