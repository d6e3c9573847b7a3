"""Choices that a configuration offers, apart from what acts on them: it is read without torch."""

from typing import Literal, TypeAlias

POOLED = "pooled"  # in place of a country: the pairs of all countries, joined

Precision = Literal["auto", "fp32", "bf16"]
ResolvedPrecision = Literal["fp32", "bf16"]
ZeroStage = Literal[0, 1, 2, 3]
Offload = Literal["none", "optimizer", "weights"]
ScheduleKind: TypeAlias = Literal["linear", "cosine", "constant"]
Overlong: TypeAlias = Literal["truncate_prompt", "truncate_left", "drop"]


def check_offload(zero_stage: ZeroStage, offload: Offload) -> None:
    """Refuse to move to CPU memory what a stage does not shard.

    Raises:
        ValueError: There is no such stage, or it cannot offload that.
    """
    if zero_stage not in (0, 1, 2, 3):
        raise ValueError(f"zero_stage must be 0, 1, 2 or 3, but got {zero_stage}.")
    needed = {"none": 0, "optimizer": 1, "weights": 3}.get(offload)
    if needed is None:
        raise ValueError(f"offload must be none, optimizer or weights, but got {offload!r}.")
    if zero_stage < needed:
        raise ValueError(
            f"To offload {offload}, ZeRO stage {needed} at least must shard it, "
            f"but got stage {zero_stage}."
        )
