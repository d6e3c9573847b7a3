"""The engine of many ranks: DeepSpeed with ZeRO stage 0 to 3 behind the same training loop.

The process group exists before (Ray Train makes it). Rewards and loss are float32, AdamW is
torch's, so nothing is compiled at start. On a CPU set DS_ACCELERATOR=cpu and use gloo.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import deepspeed
import torch
from torch import Tensor

from scpo.choices import Offload, ResolvedPrecision, ZeroStage, check_offload
from scpo.distributed.deepspeed_internals import release_engine
from scpo.distributed.shard_weights import shard_weights
from scpo.files.pulse import pulse
from scpo.models.classifier import compute_rewards
from scpo.models.devices import autocast, trim_memory
from scpo.models.reward_model import LoadedModel
from scpo.training.engines import Optimization, gather_from_ranks

STATE_TAG = "state"


class DeepSpeedEngine:
    """Many ranks through DeepSpeed, ZeRO stage 0 to 3.

    The process group must exist (Ray Train makes it; `deepspeed.init_distributed` joins it).

    Args:
        reward: Model to train, the same weights on every rank; stage 3 divides them in place.
        optimization: How to.
        zero_stage: 0 replicates, 1 shards the optimizer, 2 gradients too, 3 weights too.
        offload: What lies in CPU memory between uses.
    """

    prove: Callable[..., float] | None = None

    def __init__(
        self,
        reward: LoadedModel,
        optimization: Optimization,
        *,
        zero_stage: ZeroStage,
        offload: Offload = "none",
    ) -> None:
        config = deepspeed_config(
            zero_stage,
            optimization.max_grad_norm,
            accumulation=optimization.accumulation,
            offload=offload,
        )
        if zero_stage == 3:
            device = torch.device(deepspeed.accelerator.get_accelerator().current_device_name())
            shard_weights(reward.model, device, config)
        optimizer, scheduler = optimization.make_optimizer(reward.model, fused=False)
        self.engine, *_ = deepspeed.initialize(
            model=reward.model, optimizer=optimizer, lr_scheduler=scheduler, config=config
        )
        self.rank = int(torch.distributed.get_rank())
        self.world_size = int(torch.distributed.get_world_size())
        self.kind = f"zero{zero_stage}"
        self.zero_stage = zero_stage
        self.optimization = optimization
        self.device = torch.device(self.engine.device)

    def rewards(
        self, batch: Mapping[str, Tensor], *, precision: ResolvedPrecision | None = None
    ) -> Tensor:
        """Return the rewards of B texts, shape (B,), float32, with gradients."""
        with autocast(self.device, precision or self.optimization.precision):
            return compute_rewards(self.engine, batch)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, averaged over ranks."""
        self.engine.backward(loss, scale_wrt_gas=False)

    def step(self, *, last: bool) -> float | None:
        """Count a backward pass; DeepSpeed clips, steps and clears at the step's last."""
        if last and self.zero_stage == 0:  # DeepSpeed keeps no norm here, and steps on NaN
            reduced = [w.grad for w in self.engine.module.parameters() if w.grad is not None]
            norm = float(torch.nn.utils.get_total_norm(reduced))
            if norm < float("inf"):
                self.engine.step()
            return norm
        self.engine.step()
        return float(self.engine.get_global_grad_norm()) if last else None

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's value, in the order of ranks."""
        return gather_from_ranks(value)

    def sum_over_ranks(self, value: float) -> float:
        """Return the sum of a number over all ranks."""
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return float(total)

    def save_state(self, folder: Path) -> None:
        """Write every rank's shards of weights, optimizer and schedule."""
        self.engine.save_checkpoint(str(folder), tag=STATE_TAG, save_latest=False)

    def load_state(self, folder: Path) -> None:
        """Read what `save_state` of as many ranks wrote, into an engine just made.

        DeepSpeed unpickles these files: load only a checkpoint from your own storage whose
        manifest has been verified.

        Raises:
            RuntimeError: DeepSpeed found nothing to load.
        """
        found, _ = self.engine.load_checkpoint(str(folder), tag=STATE_TAG)
        if found is None:  # DeepSpeed only warns, and would start from scratch
            raise RuntimeError(f"DeepSpeed found no state in {folder}.")

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the whole weights by name on rank 0, gathered one tensor at a time."""
        module: Any = self.engine.module
        saved = set(module.state_dict())
        buffers = [(name, buffer) for name, buffer in module.named_buffers() if name in saved]
        trim_memory()  # of what training and scoring left
        for name, tensor in [*module.named_parameters(), *buffers]:
            gathered = [tensor] if self.zero_stage == 3 and hasattr(tensor, "ds_id") else []
            with deepspeed.zero.GatheredParameters(gathered, enabled=bool(gathered)):
                whole = tensor.detach().float().cpu().clone() if self.rank == 0 else None
            if gathered:
                trim_memory()  # of the whole tensor, which lay on every rank
            pulse.beat()
            if whole is not None:
                yield name, whole

    def release(self) -> None:
        """Free the model and the optimizer's state; no other engine of the process may live."""
        release_engine(self.engine)


def deepspeed_config(
    zero_stage: ZeroStage,
    max_grad_norm: float,
    *,
    accumulation: int = 1,
    offload: Offload = "none",
) -> dict[str, Any]:
    """Return the DeepSpeed configuration of one stage.

    The micro-batch of 1 is a placeholder that DeepSpeed wants: the loop makes its own batches.

    Raises:
        ValueError: The stage is not 0, 1, 2 or 3, or it cannot offload that.
    """
    if zero_stage not in (0, 1, 2, 3):
        raise ValueError(f"zero_stage must be 0, 1, 2 or 3, but got {zero_stage}.")
    check_offload(zero_stage, offload)
    zero: dict[str, Any] = {"stage": zero_stage}
    if offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if offload == "weights":
        zero["offload_param"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,  # torch's AdamW; cpu_adam would compile
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }
