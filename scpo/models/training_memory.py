"""How much memory a training takes at its peak, by what takes it.

The training loop keeps a step's forward passes until its backward pass, so activations grow with
the texts of a step on one device. All is float32 but the matrix products of bf16, which copy each
weight once a forward pass. It is an upper bound. Ray, Python and CUDA themselves come on top as
RUNTIME_BYTES.

Reference: ZeRO (Rajbhandari et al., arXiv 1910.02054), section 3, in float32.
"""

import math
from dataclasses import dataclass
from typing import TypedDict, Unpack

from scpo.choices import Offload, ZeroStage, check_offload
from scpo.models.model_cost import ModelCost

FLOAT_BYTES = 4
FILE_BYTES = 5 * 10**9  # of a file of weights, at most
_LEAST_FILE_BYTES = 100 * 10**6
MOMENT_BYTES = 8  # AdamW's two
BACKWARD_SHARE = 0.9  # of a layer's activations, measured: what its backward pass adds to them
RUNTIME_BYTES = 10**9  # a process with Ray, torch and transformers; and a CUDA context with NCCL
# DeepSpeed's defaults, in elements: the bucket in which gradients are reduced, and the gathered
# weights that stage 3 keeps. A GPU reserves a whole bucket, a CPU what is touched.
BUCKET_ELEMENTS = 5 * 10**8
LIVE_ELEMENTS = 10**9


def size_of_file(num_weights: int, num_ranks: int) -> int:
    """Return the bytes of a file of float32 weights: half a rank's shard, as saving copies it."""
    shard_bytes = FLOAT_BYTES * num_weights // num_ranks
    return min(FILE_BYTES, max(_LEAST_FILE_BYTES, shard_bytes // 2))


class Sharding(TypedDict, total=False):
    """How a training is shared among processes; see `estimate_memory`."""

    workers: int
    zero_stage: ZeroStage | None
    offload: Offload


@dataclass(frozen=True)
class MemoryEstimate:
    """The peak memory of one training process, in bytes by what takes them.

    `device` is that on its GPU, empty where it trains on a CPU; `host` that of its node.
    """

    device: dict[str, int]
    host: dict[str, int]


def estimate_memory(
    cost: ModelCost,
    *,
    num_texts: int,
    num_passes: int = 1,
    accumulation: int = 1,
    keeps_base: bool = False,
    use_gpu: bool = False,
    **sharding: Unpack[Sharding],
) -> MemoryEstimate:
    """Return the peak memory of one process of a training.

    Of `num_texts` texts of a backward pass on one device `num_passes` forward passes are made;
    `accumulation` counts the backward passes of a step. With `keeps_base` a copy of the weights
    stays beside the model, as in a lane. `workers` share a sharded training, `zero_stage` is
    DeepSpeed's, None for plain torch on one device, and `offload` what is kept in the node's
    memory between uses.

    Raises:
        ValueError: A number is below 1, or the stage cannot offload that.
    """
    workers, zero_stage = sharding.get("workers", 1), sharding.get("zero_stage")
    offload = sharding.get("offload", "none")
    if min(num_texts, num_passes, accumulation, workers) < 1:
        raise ValueError(
            "num_texts, num_passes, accumulation and workers must be at least 1, but got "
            f"{num_texts}, {num_passes}, {accumulation} and {workers}."
        )
    check_offload(zero_stage or 0, offload)
    whole = FLOAT_BYTES * cost.weights
    device, host = _training_states(cost, workers, zero_stage, offload, use_gpu=use_gpu)
    if keeps_base:
        device["base weights"] = whole
    gradients = device.pop("gradients")
    kept = num_texts * cost.text_bytes + num_passes * cost.pass_bytes
    layer = math.ceil(num_texts / num_passes) * cost.layer_bytes + cost.layer_pass_bytes
    at_work = (1 + BACKWARD_SHARE) * layer
    if cost.recomputed:
        overlap = kept + max(gradients + layer, at_work)
    elif accumulation > 1:  # earlier passes left their gradients
        overlap = gradients + kept + at_work
    else:  # gradients grow while activations go
        overlap = max(gradients, kept) + at_work
    device["activations and gradients"] = math.ceil(overlap)
    device["runtime"] = RUNTIME_BYTES
    # What is read lies in mapped files. The export holds one file of weights and its copy; to
    # merge adapters, rank 0 gathers the whole model.
    is_merged = cost.trained < cost.weights
    written = 3 * whole if is_merged else 2 * min(whole, size_of_file(cost.weights, workers))
    if use_gpu:
        copies = {"model written": written, "runtime": RUNTIME_BYTES}
        return MemoryEstimate(device, host | copies)
    # The export comes after the last step, when activations and gradients are gone.
    device["activations and gradients"] = max(math.ceil(overlap), written)
    merged = {name: device.get(name, 0) + host.get(name, 0) for name in device | host}
    return MemoryEstimate({}, merged)


def _training_states(
    cost: ModelCost,
    workers: int,
    zero_stage: ZeroStage | None,
    offload: Offload,
    *,
    use_gpu: bool,
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the bytes of weights, gradients, moments and buffers, on the device and off it."""
    weights, trained = FLOAT_BYTES * cost.weights, FLOAT_BYTES * cost.trained
    moments = MOMENT_BYTES * cost.trained
    if zero_stage is None:
        return {"weights": weights, "gradients": trained, "optimizer": moments}, {}
    elements = BUCKET_ELEMENTS if use_gpu else min(BUCKET_ELEMENTS, cost.trained)
    bucket = FLOAT_BYTES * elements
    if zero_stage == 0:
        bucket = min(bucket, trained) if workers > 1 else 0
        states = {"weights": weights, "gradients": trained, "optimizer": moments}
        return states | {"buffers": bucket}, {}
    shard = trained // workers
    gradients = trained + shard if zero_stage == 1 else 2 * shard
    optimizer = shard + moments // workers  # with its own float32 copy of the shard
    device = {"weights": weights, "gradients": gradients, "optimizer": optimizer}
    device["buffers"] = bucket if use_gpu else bucket + trained  # the tensors that it was given
    if zero_stage == 3:  # keeps its gradients; a full bucket is copied to be reduced
        device["weights"] = weights // workers
        device["gradients"] = 2 * bucket
        device["optimizer"] += shard
        device["buffers"] = bucket + min(weights, FLOAT_BYTES * LIVE_ELEMENTS)
    host: dict[str, int] = {}
    if offload != "none":
        host["optimizer"] = device.pop("optimizer") + 2 * shard  # gradients too, and a copy
    if offload == "weights":
        host["weights"] = device.pop("weights")
    return device, host
