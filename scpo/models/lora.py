"""LoRA adapters of reward models, through peft (the extra `lora`).

In comes a reward model, out comes one whose backbone is frozen under low-rank updates
W + (alpha / rank) B A while everything above the backbone trains in full, in float32. B starts
at zero, so the rewards do not move when an adapter is added. `merge_lora` gives the plain class
back.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear
from transformers import PreTrainedModel

from scpo.models.classifier import plain_model
from scpo.models.reward_model import LoadedModel, quiet_peft, require_peft


def add_lora(
    reward: LoadedModel,
    *,
    rank: int,
    alpha: float,
    target_modules: str | list[str] = "all-linear",
) -> LoadedModel:
    """Return the reward model under a new LoRA adapter; its own model is changed in place.

    The model is whole, not yet sharded by an engine. Updates of `target_modules`, names or all
    linear layers of the backbone, count alpha / rank. A is drawn from torch's global random
    numbers: seed them before.

    Raises:
        RuntimeError: peft is not installed.
        ValueError: Not `rank >= 1` and `alpha > 0`; the model has an adapter already; or no
            layer has a name of `target_modules`.
    """
    peft = require_peft()
    if rank < 1:
        raise ValueError(f"`rank >= 1` must hold, but got rank={rank}.")
    if not alpha > 0:
        raise ValueError(f"`alpha > 0` must hold, but got alpha={alpha}.")
    if has_lora(reward):
        raise ValueError("The model has an adapter already. Merge it first with `merge_lora`.")
    config = peft.LoraConfig(
        task_type="SEQ_CLS",
        r=rank,
        lora_alpha=alpha,
        target_modules=target_modules,
        modules_to_save=head_modules(reward.model),
        revision=reward.revision,
    )
    try:
        with quiet_peft():
            model = peft.get_peft_model(reward.model, config)
    except ValueError as error:
        raise ValueError(
            f"target_modules is {target_modules!r}, which peft cannot adapt in this model. Use "
            f"all-linear, or of its linear layers: {', '.join(_linear_names(reward.model))}."
        ) from error
    return replace(reward, model=model.eval())


def _linear_names(model: PreTrainedModel) -> list[str]:
    """Return the last parts of the names of the backbone's linear layers."""
    named = model.base_model.named_modules()
    return sorted({name.rpartition(".")[2] for name, each in named if isinstance(each, Linear)})


def has_lora(reward: LoadedModel) -> bool:
    """Tell whether the model stands under an adapter."""
    return plain_model(reward.model) is not reward.model


def head_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of the modules above the backbone that hold weights."""
    return [
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix and any(True for _ in module.parameters())
    ]


def merge_lora(reward: LoadedModel) -> LoadedModel:
    """Return the plain class again, with the updates added to its weights, in place.

    The model is the one that `add_lora` was given, and all its weights train again; the peft
    model of `reward` is used up.

    Raises:
        ValueError: The model has no adapter.
    """
    if not has_lora(reward):
        raise ValueError("A model with an adapter is needed, but got one without.")
    model: Any = reward.model
    merged = model.merge_and_unload(safe_merge=True)
    return replace(reward, model=merged.requires_grad_(True).eval())


def merge_state(reward: LoadedModel, state: Mapping[str, Tensor]) -> LoadedModel:
    """Return the plain class with merged weights made of a gathered state alone.

    The model of `reward` may be sharded: only its configuration is read. Good for saving; its
    rotary buffers are empty, so it cannot score. `state` has all weights by the names of
    `named_parameters`, on the CPU.

    Raises:
        ValueError: The state lacks weights.
    """
    peft = require_peft()
    plain = plain_model(reward.model)
    adapter = copy.deepcopy(reward.model.peft_config["default"])
    adapter.base_model_name_or_path = None
    with torch.device("meta"), quiet_peft():
        shell = peft.get_peft_model(type(plain)(copy.deepcopy(plain.config)), adapter)
    shell.load_state_dict(dict(state), strict=False, assign=True)
    plain_model(shell).tie_weights()
    missing = [name for name, weight in shell.named_parameters() if weight.is_meta]
    if missing:
        raise ValueError(
            f"A whole state is needed to merge, but it lacks {', '.join(missing[:4])}"
            f"{' ...' if len(missing) > 4 else ''}. Gather all weights, frozen ones too."
        )
    return replace(reward, model=shell.merge_and_unload(safe_merge=True).eval())
