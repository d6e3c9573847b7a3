"""The engine of many ranks: DeepSpeed with ZeRO stage 0 to 3 behind the same training loop.

The process group exists before (Ray Train makes it). Rewards and loss are float32, AdamW is
torch's, so nothing is compiled at start. On a CPU set DS_ACCELERATOR=cpu and use gloo.
"""

from collections.abc import Mapping
from typing import Any, Literal

import deepspeed
import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from scpo.devices import autocast
from scpo.engines import linear_decay
from scpo.model import RewardModel, compute_rewards

ZeroStage = Literal[0, 1, 2, 3]


class DeepSpeedEngine:
    """Many ranks through DeepSpeed, ZeRO stage 0 to 3.

    The process group must exist (Ray Train makes it; `deepspeed.init_distributed` joins it).

    Args:
        reward: Model to train, the same weights on every rank.
        zero_stage: 0 replicates, 1 shards the optimizer, 2 gradients too, 3 weights too.
        learning_rate: Peak learning rate of AdamW.
        num_steps: Steps after which the linear decay reaches zero.
        weight_decay: AdamW's.
        max_grad_norm: Gradients are scaled down to this norm.
        precision: Resolved precision of the matrix products.
    """

    def __init__(
        self,
        reward: RewardModel,
        *,
        zero_stage: ZeroStage,
        learning_rate: float,
        num_steps: int,
        weight_decay: float = 0.0,
        max_grad_norm: float = 1.0,
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        optimizer = AdamW(reward.model.parameters(), lr=learning_rate, weight_decay=weight_decay)
        self.engine, *_ = deepspeed.initialize(
            model=reward.model,
            optimizer=optimizer,
            lr_scheduler=LambdaLR(optimizer, linear_decay(num_steps)),
            config=deepspeed_config(zero_stage, max_grad_norm),
        )
        self.rank = int(torch.distributed.get_rank())
        self.world_size = int(torch.distributed.get_world_size())
        self.zero_stage = zero_stage
        self.precision: Literal["fp32", "bf16"] = precision
        self.device = torch.device(self.engine.device)

    def rewards(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the rewards of B texts, shape (B,), float32, with gradients."""
        with autocast(self.device, self.precision):
            return compute_rewards(self.engine, batch)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, averaged over ranks."""
        self.engine.backward(loss)

    def step(self) -> None:
        """Clip, step, decay, clear."""
        self.engine.step()

    def sum_over_ranks(self, value: float) -> float:
        """Return the sum of a number over all ranks."""
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return float(total)

    def gather_weights(self) -> dict[str, Tensor] | None:
        """Return the whole weights on rank 0, gathered one tensor at a time."""
        module: Any = self.engine.module
        state: dict[str, Tensor] = {}
        for name, tensor in [*module.named_parameters(), *_saved_buffers(module)]:
            gathered = [tensor] if self.zero_stage == 3 and hasattr(tensor, "ds_id") else []
            with deepspeed.zero.GatheredParameters(gathered, enabled=bool(gathered)):
                if self.rank == 0:
                    state[name] = tensor.detach().float().cpu().clone()
        return state if self.rank == 0 else None


def deepspeed_config(zero_stage: ZeroStage, max_grad_norm: float) -> dict[str, Any]:
    """Return the DeepSpeed configuration of one stage.

    The micro-batch of 1 is a placeholder that DeepSpeed wants: the loop makes its own batches.

    Raises:
        ValueError: The stage is not 0, 1, 2 or 3.
    """
    if zero_stage not in (0, 1, 2, 3):
        raise ValueError(f"zero_stage must be 0, 1, 2 or 3, but got {zero_stage}.")
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": max_grad_norm,
        "zero_optimization": {"stage": zero_stage},
        "zero_allow_untested_optimizer": True,  # torch's AdamW; cpu_adam would compile
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }


def _saved_buffers(module: torch.nn.Module) -> list[tuple[str, Tensor]]:
    """Return the buffers that a state dict holds."""
    names = set(module.state_dict())
    return [(name, buffer) for name, buffer in module.named_buffers() if name in names]
