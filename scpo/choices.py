"""Choices that a configuration offers, apart from what acts on them: it is read without torch."""

from typing import Literal, TypeAlias

POOLED = "pooled"  # in place of a country: the pairs of all countries, joined
NODE_GROUP = "ray.io/node-group"  # a label of `ray up` and KubeRay, whose clusters may grow

Precision = Literal["auto", "fp32", "bf16"]
ResolvedPrecision = Literal["fp32", "bf16"]
ZeroStage = Literal[0, 1, 2, 3]
Pooling: TypeAlias = Literal["mean", "head"]  # see scpo/countries/pooling.py
Offload = Literal["none", "optimizer", "weights"]
ScheduleKind: TypeAlias = Literal["linear", "cosine", "constant"]
Overlong: TypeAlias = Literal["truncate_prompt", "truncate_left", "drop"]


def check_workers(number: int, zero_stage: ZeroStage, offload: Offload) -> None:
    """Refuse workers that there cannot be, or that offload what their stage does not shard.

    Raises:
        ValueError: No worker, no such stage, or a stage that cannot offload that.
    """
    if number < 1 or zero_stage not in (0, 1, 2, 3):
        raise ValueError(
            f"`workers >= 1` and zero_stage in 0..3 must hold, but got {number} and {zero_stage}."
        )
    check_offload(zero_stage, offload)


def check_offload(zero_stage: ZeroStage, offload: Offload) -> None:
    """Refuse to move to CPU memory what a stage does not shard.

    Raises:
        ValueError: The stage cannot offload that.
    """
    needed = {"none": 0, "optimizer": 1, "weights": 3}.get(offload)
    if needed is None:
        raise ValueError(f"offload must be none, optimizer or weights, but got {offload!r}.")
    if zero_stage < needed:
        raise ValueError(
            f"To offload {offload}, ZeRO stage {needed} at least must shard it, "
            f"but got stage {zero_stage}."
        )
