"""What a reward model does otherwise than the plain class of transformers.

A float32 head, pooling without the states of all tokens, a last layer that computes
what the reward reads, layers that recompute, and texts padded at either side.

This file gives modules of a loaded model another class. transformers has no public way to replace
these forward passes, hooks cannot wrap one in a context, and a wrapper module renames weights. A
class leaves deepcopy, state dicts and peft as they are. If a new version moves what is used here,
an import or an attribute fails; a changed forward pass fails the check before a training starts.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    BertForSequenceClassification,
    DebertaV2ForSequenceClassification,
    PreTrainedModel,
)
from transformers.modeling_layers import (
    GenericForSequenceClassification,
    GradientCheckpointingLayer,
)
from transformers.modeling_outputs import SequenceClassifierOutputWithPast

from scpo.files.pulse import pulse

# Exactly these classes: a subclass may pool otherwise. DeBERTa's convolution over all tokens comes
# after its first layer.
FIRST_TOKEN_CLASSES = (BertForSequenceClassification, DebertaV2ForSequenceClassification)


def compute_rewards(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the reward of each text of a batch, float32.

    Args:
        model: A sequence classifier with one label, or an engine or adapter around it.
        batch: Model inputs. Either B texts, `input_ids` and `attention_mask` (B, T) and perhaps
            `token_type_ids`, padded at the right or left. Or B packed rows for a decoder that
            `takes_packed_rows`: also `pool_at` (B, R), `position_ids` (B, T) and an
            `attention_mask` (B, 1, T, T), True where the row's token sees the column's.

    Returns:
        Shape (B,), or (B, R) of packed rows.
    """
    rewards: Tensor = model(**_pad_at_right(batch)).logits
    pulse.beat()
    return rewards.squeeze(-1).float()


def plain_model(model: nn.Module) -> PreTrainedModel:
    """Return the transformers model inside an adapter's wrapper, or the model itself.

    Raises:
        TypeError: It is neither a transformers nor a peft model.
    """
    peft = sys.modules.get("peft")  # imported, where there is such a model
    plain = model.get_base_model() if peft and isinstance(model, peft.PeftModel) else model
    if not isinstance(plain, PreTrainedModel):
        raise TypeError(f"A transformers or peft model is needed, but got {type(model).__name__}.")
    return plain


def pools_by_id(model: PreTrainedModel) -> bool:
    """Tell whether a decoder scores the right-most token that is not the padding token."""
    return type(model).forward is GenericForSequenceClassification.forward


def reads_first_token(model: PreTrainedModel) -> bool:
    """Tell whether a model is known to score position 0, whatever the padding."""
    return type(model) in FIRST_TOKEN_CLASSES


def adapt_classes(model: PreTrainedModel, pad_id: int) -> None:
    """Give a loaded model, in place, a padding token if it has none, float32 head and pooling."""
    config = model.config.get_text_config()
    if config.pad_token_id is None:
        config.pad_token_id = pad_id
    if pools_by_id(model):
        _mix_in(_MaskPooling, model)
    base: Any = model.base_model
    if reads_first_token(model) and len(base.encoder.layer) > 1:
        _mix_in(_FirstTokenOnly, base.encoder.layer[-1].attention.output)
    for child, module in model.named_children():
        if child != model.base_model_prefix:
            _mix_in(_Float32Head, module)


def enable_activation_checkpointing(model: nn.Module) -> None:
    """Recompute each layer's activations in the backward pass instead of keeping them.

    Non-reentrant. Transformers checkpoints only layers whose `training` is True, which would
    also switch on dropout that a layer applies itself; here the layers' class does it whenever
    gradients are on, so `eval()` and `train()` change nothing, and calling again is harmless.
    Call it before an engine wraps the model.

    Raises:
        ValueError: The model has no layers that transformers marks as safe to recompute.
    """
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(
            f"Activation checkpointing needs a model with layers to recompute, but "
            f"{type(plain_model(model)).__name__} marks none. Turn activation checkpointing off."
        )
    for layer in layers:
        _mix_in(_Checkpointed, layer)


@contextmanager
def reading_states(model: nn.Module) -> Iterator[Callable[[Any], Tensor | None]]:
    """Yield what returns the last hidden states of all tokens, given a backbone's output.

    It must be called after each forward pass. The rewards are the same to the bit as without.
    Returns None for an output without such states.
    """
    whole: list[Tensor] = []

    def see(layer: Any, attended: Tensor, residual: Tensor) -> None:
        states = layer.attention.output.whole(attended, residual)
        whole.append(layer.output(layer.intermediate(states), states))

    def read(out: Any) -> Tensor | None:
        return whole.pop() if hooks else getattr(out, "last_hidden_state", None)

    layers: list[Any] = [
        layer
        for layer in model.modules()
        if isinstance(getattr(getattr(layer, "attention", None), "output", None), _FirstTokenOnly)
    ]
    hooks = [
        layer.attention.output.register_forward_hook(
            lambda _, given, __, layer=layer: see(layer, *given)
        )
        for layer in layers
    ]
    try:
        yield read
    finally:
        for hook in hooks:
            hook.remove()


def takes_packed_rows(model: nn.Module) -> bool:
    """Tell whether several texts can share a row through a 4D mask and `pool_at`.

    A decoder that pools by mask, with full attention in every layer: transformers gives a 4D
    mask to all layers alike, so a sliding window would be lost, and a state-space layer reads
    no mask at all.
    """
    plain = plain_model(model)
    config = plain.config.get_text_config().to_dict()
    return (
        isinstance(plain, _MaskPooling)
        and plain.config._attn_implementation in ("sdpa", "eager")
        and not plain._is_stateful
        and config.get("sliding_window") is None
        and set(config.get("layer_types") or ["full_attention"]) == {"full_attention"}
    )


def head_digest(model: nn.Module) -> str:
    """Return a sha256 over the names and bytes of all weights above the backbone.

    Of an adapter it is the trained copy of the head that counts, under its plain names: the
    digest stays when the adapter is merged.
    """
    plain = plain_model(model)
    digest = hashlib.sha256()
    for name, tensor in sorted(plain.state_dict().items()):
        if is_backbone(plain, name) or ".original_module." in name:
            continue
        plain_name = name.replace(".modules_to_save.default.", ".")
        digest.update(f"{plain_name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def is_backbone(model: PreTrainedModel, name: str) -> bool:
    """Tell whether a weight belongs to the backbone, by its name."""
    return name.startswith(f"{model.base_model_prefix}.")


class _Mixed(nn.Module):
    """A module of a class that `_mixed_class` made: pickle finds no such class by its name."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _unpickled, type(self).__bases__, self.__dict__


class _Float32Head(_Mixed):
    """A module above the backbone: floating inputs become float32, autocast is off inside.

    Rewards of bf16 collapse into ties.
    """

    def forward(self, hidden: Tensor, *rest: Any, **named: Any) -> Any:
        with torch.autocast(hidden.device.type, enabled=False):
            return super().forward(hidden.float(), *rest, **named)


class _FirstTokenOnly(_Mixed):
    """The output of an encoder's last attention, for position 0 alone, which the reward reads.

    Behind that attention no token sees another; a seventh of MiniLM's work is spared.
    """

    def forward(self, attended: Tensor, residual: Tensor) -> Tensor:
        return self.whole(attended[:, :1], residual[:, :1])

    def whole(self, attended: Tensor, residual: Tensor) -> Tensor:
        """Return the output for every position."""
        states: Tensor = super().forward(attended, residual)
        return states


class _MaskPooling(_Mixed):
    """A decoder that scores the right-most token that is not padding, as transformers does.

    By its id and by the attention mask: a text that ends with the padding token, as where that is
    the end token, is scored at the token before. The head sees the pooled states only. `pool_at`
    is given for texts that do not end so.
    """

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        pool_at: Tensor | None = None,
        labels: Tensor | None = None,
        **named: Any,
    ) -> SequenceClassifierOutputWithPast:
        if labels is not None:
            raise ValueError("This model computes no loss, but got `labels`. Leave them out.")
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if mask.ndim == 4 and (pool_at is None or position_ids is None):
            raise ValueError("A 4D attention_mask must come with `pool_at` and `position_ids`.")
        if position_ids is None:
            position_ids = (mask.long().cumsum(1) - 1).clamp(min=0)
        if pool_at is None:
            column = torch.arange(mask.shape[1], device=mask.device)
            config: Any = self.config
            pad_id = config.get_text_config().pad_token_id
            places = (column * mask * (input_ids != pad_id)).argmax(1, keepdim=True)
        else:
            places = pool_at
        named |= {"use_cache": False, "return_dict": True}
        states = self.get_submodule(self.base_model_prefix)(  # type: ignore[arg-type]
            input_ids, attention_mask=self._fit_mask(mask), position_ids=position_ids, **named
        ).last_hidden_state
        row = torch.arange(len(places), device=places.device)[:, None]
        logits = self.score(states[row, places])  # type: ignore[operator]
        return SequenceClassifierOutputWithPast(
            logits=logits if pool_at is not None else logits.squeeze(1)
        )

    def _fit_mask(self, mask: Tensor) -> Tensor:
        """Return a boolean 4D mask as eager attention adds it; any other as it is."""
        eager = self.config._attn_implementation == "eager"  # type: ignore[union-attr]
        if not eager or mask.ndim != 4 or mask.dtype != torch.bool:
            return mask
        added = torch.zeros(mask.shape, device=mask.device)
        return added.masked_fill(~mask, torch.finfo(added.dtype).min)


class _Checkpointed(_Mixed):
    """A layer that keeps its inputs and computes the rest again in the backward pass."""

    def forward(self, *inputs: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return super().forward(*inputs, **named)
        if "cache" in named:
            named["cache"] = None  # the second pass would write to it again
        return checkpoint(super().forward, *inputs, use_reentrant=False, **named)


@cache
def _mixed_class(mixin: type, base: type) -> type:
    """Return `base` with the mixin's forward around its own, under the name of `base`."""
    return type(base.__name__, (mixin, base), {"__module__": base.__module__})


def _unpickled(mixin: type, base: type) -> nn.Module:
    """Return a module of a mixed class, without its state yet."""
    kind: type[nn.Module] = _mixed_class(mixin, base)
    return kind.__new__(kind)


def _mix_in(mixin: Any, module: Any) -> None:
    if isinstance(module, mixin):
        return
    if "forward" in vars(module):
        raise RuntimeError(
            f"{type(module).__name__} must take its forward pass from its class, but has one of "
            "its own, which would hide the one needed here. Load the model without hooks on it."
        )
    base: Any = type(module)
    module.__class__ = _mixed_class(mixin, base)


def _pad_at_right(batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Rotate each row so that its first real token comes first; packed rows stay as they are.

    BERT counts absolute positions and DeBERTa pools position 0. Always a gather, never a
    question to the device.
    """
    mask = batch.get("attention_mask")
    if mask is None or mask.ndim != 2 or "pool_at" in batch:
        return batch
    first = mask.long().argmax(1, keepdim=True)
    source = (first + torch.arange(mask.shape[1], device=mask.device)) % mask.shape[1]
    return {
        name: tensor.gather(1, source) if tensor.shape == mask.shape else tensor
        for name, tensor in batch.items()
    }
