"""Dividing a model among ranks, straight from the mapped files of its weights.

transformers maps safetensors files into memory instead of reading them, so all processes of a
node share one copy in the page cache. Tensor by tensor is copied from there into the shard of each
rank, so that no rank ever holds the whole model.
"""

from typing import Any

import deepspeed
import torch
from torch import nn

from scpo.models.devices import trim_memory


def shard_weights(model: nn.Module, device: torch.device, config: dict[str, Any]) -> None:
    """Divide the weights of a model among all ranks, in place, one tensor at a time.

    Args:
        model: The whole model, the same on every rank, which must all call.
        device: The device of this rank.
        config: DeepSpeed's configuration, of ZeRO stage 3.
    """
    for module in reversed(list(model.modules())):  # children first
        own = [weight for weight in module.parameters(recurse=False) if not _is_sharded(weight)]
        for weight in own:  # a copy, which DeepSpeed writes to
            weight.data = weight.data.to(device, torch.float32, copy=True)
        if own:
            deepspeed.zero.Init(module=module, config_dict_or_path=config)
            if device.type == "cpu":
                trim_memory()


def _is_sharded(weight: nn.Parameter) -> bool:
    return hasattr(weight, "ds_id")
