"""How DeepSpeed may shard a training, in words that need neither torch nor DeepSpeed.

ZeRO stage 0 replicates, 1 shards the optimizer, 2 gradients too, 3 weights too; what is sharded
can lie in CPU memory between uses.
"""

from typing import Literal

ZeroStage = Literal[0, 1, 2, 3]
Offload = Literal["none", "optimizer", "weights"]


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
