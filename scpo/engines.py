"""What the training loop needs of an engine, and the engine of one device in plain torch.

An engine holds the model, the optimizer and the schedule. The loop asks it for rewards of a
batch, a backward pass, an optimizer step and, at the end, the whole weights. AdamW with linear
decay to zero and gradient clipping, as in the paper's runs. Rewards and loss are float32.
"""

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from scpo.devices import autocast
from scpo.model import RewardModel, compute_rewards


class Engine(Protocol):
    """What the training loop needs of an engine."""

    rank: int
    world_size: int
    device: torch.device

    def rewards(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the rewards of B texts, shape (B,), float32, with gradients."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, which ranks average."""
        ...

    def step(self) -> None:
        """Take one optimizer step and clear the gradients."""
        ...

    def sum_over_ranks(self, value: float) -> float:
        """Return the sum of a number over all ranks."""
        ...

    def gather_weights(self) -> dict[str, Tensor] | None:
        """Return the whole float32 weights on rank 0, None elsewhere; every rank must call."""
        ...


class TorchEngine:
    """One device, no sharding.

    Args:
        reward: Model to train, already on its device.
        learning_rate: Peak learning rate of AdamW.
        num_steps: Steps after which the linear decay reaches zero.
        weight_decay: AdamW's.
        max_grad_norm: Gradients are scaled down to this norm.
        precision: Resolved precision of the matrix products.
    """

    rank = 0
    world_size = 1

    def __init__(
        self,
        reward: RewardModel,
        *,
        learning_rate: float,
        num_steps: int,
        weight_decay: float = 0.0,
        max_grad_norm: float = 1.0,
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        self.model = reward.model
        self.device = reward.model.device
        self.precision: Literal["fp32", "bf16"] = precision
        self.max_grad_norm = max_grad_norm
        self.optimizer = AdamW(
            self.model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True
        )
        self.scheduler = LambdaLR(self.optimizer, linear_decay(num_steps))

    def rewards(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the rewards of B texts, shape (B,), float32, with gradients."""
        with autocast(self.device, self.precision):
            return compute_rewards(self.model, batch)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`."""
        loss.backward()

    def step(self) -> None:
        """Clip, step, decay, clear."""
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)

    def sum_over_ranks(self, value: float) -> float:
        """Return `value`: there is one rank."""
        return value

    def gather_weights(self) -> dict[str, Tensor]:
        """Return the weights, on the CPU."""
        return {name: value.detach().cpu() for name, value in self.model.state_dict().items()}


def linear_decay(num_steps: int) -> Callable[[int], float]:
    """Return step -> share of the learning rate."""
    return lambda step: max(0.0, 1.0 - step / num_steps)
