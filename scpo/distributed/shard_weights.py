"""Models for one training after another, made from base weights that lie in mapped files.

transformers maps the safetensors files of a model into memory instead of reading them, so all
processes of a node share one copy in the page cache. Each training copies its weights from there,
tensor by tensor: onto the device, or with ZeRO stage 3 into the shard of each rank, so that no
rank ever holds the whole model.
"""

import copy
from dataclasses import replace
from typing import Any

import deepspeed
import torch
from torch import nn

from scpo.models.reward_model import RewardModel


def fresh_model(base: RewardModel, device: torch.device, *, stays_mapped: bool) -> RewardModel:
    """Return a model with its own modules and the base's weights, in float32.

    Args:
        base: The model as loaded, on the CPU.
        device: Where the weights go.
        stays_mapped: Leave the weights in the mapped files, for `shard_weights` to read; nothing
            may write to them.
    """
    memo: dict[int, Any] = {}
    for weight in base.model.parameters():
        data = weight.detach()
        if not stays_mapped:
            data = data.to(device, torch.float32, copy=True)
        memo[id(weight)] = nn.Parameter(data, requires_grad=weight.requires_grad)
    for buffer in base.model.buffers():
        memo[id(buffer)] = buffer.to(device, copy=True)
    return replace(base, model=copy.deepcopy(base.model, memo))


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


def _is_sharded(weight: nn.Parameter) -> bool:
    return hasattr(weight, "ds_id")
