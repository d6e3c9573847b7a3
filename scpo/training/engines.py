"""What the training loop needs of an engine, and the engine of one device in plain torch.

An engine holds the model, the optimizer and the schedule. The loop asks it for rewards of a
batch, backward passes, an optimizer step, its state for a checkpoint and, at the end, the whole
weights. AdamW with gradient clipping, as in the paper's runs. Rewards and loss are float32.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_scheduler

from scpo.choices import ResolvedPrecision, ScheduleKind
from scpo.models.classifier import compute_rewards
from scpo.models.devices import autocast
from scpo.models.reward_model import LoadedModel
from scpo.training.word_gradients import WordGradients

STATE_FILE = "engine.pt"


@dataclass(frozen=True)
class Optimization:
    """How an engine optimizes with AdamW; see `scpo.config.TrainingConfig`.

    `learning_rate` is the peak, `num_steps` counts all optimizer steps, where the schedule ends,
    and `accumulation` the backward passes of one.
    """

    learning_rate: float
    num_steps: int
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    precision: ResolvedPrecision = "fp32"
    schedule: ScheduleKind = "linear"
    warmup_share: float = 0.0
    accumulation: int = 1

    def make_optimizer(self, model: torch.nn.Module, *, fused: bool) -> tuple[AdamW, LambdaLR]:
        """Return AdamW over the trainable weights of a model, and its schedule.

        The learning rate rises from 0 in a share of the steps, rounded, but one step at least is
        left for what follows: a line to 0, half a cosine to 0, or the peak.
        """
        optimizer = AdamW(
            [weight for weight in model.parameters() if weight.requires_grad],
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            fused=fused,
        )
        num_warmup = min(round(self.warmup_share * self.num_steps), self.num_steps - 1)
        kind = "constant_with_warmup" if self.schedule == "constant" else self.schedule
        return optimizer, get_scheduler(kind, optimizer, num_warmup, self.num_steps)


class ScoringEngine(Protocol):
    """A model on one rank or many, which gives rewards."""

    rank: int
    world_size: int
    device: torch.device

    def rewards(
        self, batch: Mapping[str, Tensor], *, precision: ResolvedPrecision | None = None
    ) -> Tensor:
        """Return the rewards of B texts, shape (B,), float32; an engine keeps gradients.

        Their matrix products are of the given precision, by default the engine's own.
        """

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's value, in the order of ranks; also a barrier."""


class Engine(ScoringEngine, Protocol):
    """What the training loop needs of an engine."""

    kind: str
    optimization: Optimization
    prove: Callable[..., float] | None  # the warm start; None for `prove_warm_start`

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, which ranks average."""

    def step(self, *, last: bool) -> float | None:
        """End a backward pass; at the step's last, clip, step and clear.

        Returns:
            The norm of the gradients before clipping, at the last; it may be infinite or NaN.
        """

    def sum_over_ranks(self, value: float) -> float:
        """Return the sum of a number over all ranks."""

    def save_state(self, folder: Path) -> None:
        """Write weights, optimizer and schedule; every rank must call."""

    def load_state(self, folder: Path) -> None:
        """Read what `save_state` of an engine of the same kind and size wrote."""

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the whole float32 weights by name, one tensor at a time, on the CPU.

        Only rank 0 gets them, and every rank must iterate to the end.
        """


class TorchEngine:
    """One device, no sharding; the model is on its device already."""

    rank = 0
    world_size = 1
    kind = "torch"
    prove: Callable[..., float] | None = None

    def __init__(
        self,
        reward: LoadedModel,
        optimization: Optimization,
        *,
        prove: Callable[..., float] | None = None,
    ) -> None:
        self.model = reward.model
        self.prove = prove
        self.device = reward.model.device
        self.optimization = optimization
        self.optimizer, self.scheduler = optimization.make_optimizer(self.model, fused=True)
        self._word_gradients = WordGradients(self.model)

    def rewards(
        self, batch: Mapping[str, Tensor], *, precision: ResolvedPrecision | None = None
    ) -> Tensor:
        """Return the rewards of B texts, shape (B,), float32, with gradients."""
        matrices = autocast(self.device, precision or self.optimization.precision)
        with matrices, self._word_gradients.of_rows():
            return compute_rewards(self.model, batch)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`."""
        self._word_gradients.start()
        loss.backward()

    def step(self, *, last: bool) -> float | None:
        """Clip, step, decay, clear; nothing before the last backward pass.

        A norm that is not finite leaves the weights as they were.
        """
        if not last:
            return None
        self._word_gradients.join()
        norm = float(
            torch.nn.utils.clip_grad_norm_(
                self.model.parameters(), self.optimization.max_grad_norm
            )
        )
        if norm < float("inf"):
            self.optimizer.step()
            self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def gather(self, value: Any) -> list[Any]:
        """Return the value: there is one rank."""
        return [value]

    def sum_over_ranks(self, value: float) -> float:
        """Return `value`: there is one rank."""
        return value

    def save_state(self, folder: Path) -> None:
        """Write weights, optimizer and schedule."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
        }
        torch.save(state, folder / STATE_FILE)

    def load_state(self, folder: Path) -> None:
        """Read what `save_state` wrote."""
        state = torch.load(folder / STATE_FILE, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights by name, on the CPU."""
        for name, value in self.model.state_dict().items():
            yield name, value.detach().cpu()


def gather_from_ranks(value: Any) -> list[Any]:
    """Return every rank's value, in the order of ranks; a barrier of the process group."""
    values: list[Any] = [None] * int(torch.distributed.get_world_size())
    torch.distributed.all_gather_object(values, value)
    return values


def gather_faults(fault: str | None) -> str:
    """Return what any rank found wrong, "rank 1: ...; rank 2: ...", or "" for nothing."""
    faults = enumerate(gather_from_ranks(fault))
    return "; ".join(f"rank {rank}: {words}" for rank, words in faults if words)
