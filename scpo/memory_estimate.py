"""How much memory a training takes, from a model's config.json alone: no weights are loaded.

The model is made of fake tensors, which have shapes and no memory, and one forward pass shows what
autograd would keep, for any architecture. The training loop keeps a step's forward passes until
its backward pass, so activations grow with the texts of a step on one device. All is float32 but
the matrix products of bf16, which copy each weight once a forward pass.

Upper sides are taken: every text is as long as it may be. Ray, Python and CUDA themselves come on
top as RUNTIME_BYTES.

Reference: ZeRO (Rajbhandari et al., arXiv 1910.02054), section 3, in float32.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from scpo.adapters import add_lora
from scpo.classifier import enable_activation_checkpointing
from scpo.config import LoraConfig
from scpo.devices import ResolvedPrecision, autocast
from scpo.engines import Offload, ZeroStage, check_offload
from scpo.model import ADAPTER_CONFIG, RewardModel

FLOAT_BYTES = 4
MOMENT_BYTES = 8  # AdamW's two
RUNTIME_BYTES = 10**9  # a process with Ray, torch and transformers; and a CUDA context with NCCL
# DeepSpeed's defaults, in elements: the bucket in which gradients are reduced, and the gathered
# weights that stage 3 keeps. A GPU reserves a whole bucket, a CPU what is touched.
BUCKET_ELEMENTS = 5 * 10**8
LIVE_ELEMENTS = 10**9


@dataclass(frozen=True)
class ModelCost:
    """What a model costs, before it is known how it is trained.

    Attributes:
        weights: Elements of all its weights.
        trained: Elements of those that get gradients.
        pass_bytes: Kept from each forward pass to its backward pass, whatever its size.
        text_bytes: Kept for each text.
        layer_bytes: What one layer keeps of a text, or would if it were not recomputed.
    """

    weights: int
    trained: int
    pass_bytes: int
    text_bytes: int
    layer_bytes: int


@dataclass(frozen=True)
class MemoryEstimate:
    """The peak memory of one training process, in bytes by what takes them.

    Attributes:
        device: On its GPU; empty where it trains on a CPU.
        host: In the memory of its node.
    """

    device: dict[str, int]
    host: dict[str, int]

    @property
    def device_bytes(self) -> int:
        """Return the bytes on its GPU."""
        return sum(self.device.values())

    @property
    def host_bytes(self) -> int:
        """Return the bytes in the memory of its node."""
        return sum(self.host.values())


def measure_model(
    name: str,
    *,
    max_tokens: int,
    precision: ResolvedPrecision,
    revision: str | None = None,
    lora: LoraConfig | None = None,
    activation_checkpointing: bool = False,
    trust_remote_code: bool = False,
) -> ModelCost:
    """Return what a model costs, for texts of `max_tokens` tokens.

    Args:
        name: Folder or hub name; only its config.json is read. An adapter counts as its base.
        max_tokens: Tokens of each text; no more than the model has positions are counted.
        precision: Of the matrix products.
        revision: Hub revision.
        lora: Adapters to train instead of all weights.
        activation_checkpointing: Whether layers are computed twice.
        trust_remote_code: Whether the checkpoint may bring its own Python code.

    Raises:
        FileNotFoundError: There is no config.json, here or on the hub.
        ValueError: It is of no sequence classifier that transformers knows.
        RuntimeError: The model cannot be traced, or LoRA is asked for and peft not installed.
    """
    config = _read_config(name, revision, trust_remote_code=trust_remote_code)
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    tokens = min(max_tokens, positions or max_tokens)
    with FakeTensorMode():
        with _quiet_transformers():
            model = AutoModelForSequenceClassification.from_config(
                config, trust_remote_code=trust_remote_code
            ).eval()
        if lora is not None:
            model = _with_adapters(model, lora)
        weights = list(model.parameters())
        one, two = (_kept_bytes(model, count, tokens, precision) for count in (1, 2))
        num_layers = max(1, int(config.get_text_config().num_hidden_layers))
        cost = ModelCost(
            weights=sum(weight.numel() for weight in weights),
            trained=sum(weight.numel() for weight in weights if weight.requires_grad),
            pass_bytes=max(0, 2 * one - two),
            text_bytes=two - one,
            layer_bytes=(two - one) // num_layers,
        )
        if not activation_checkpointing:
            return cost
        enable_activation_checkpointing(model)
        one, two = (_kept_bytes(model, count, tokens, precision) for count in (1, 2))
        return replace(cost, pass_bytes=max(0, 2 * one - two), text_bytes=two - one)


def estimate_memory(
    cost: ModelCost,
    *,
    num_texts: int,
    num_passes: int = 1,
    accumulation: int = 1,
    workers: int = 1,
    zero_stage: ZeroStage | None = None,
    offload: Offload = "none",
    keeps_base: bool = False,
    exports: bool = True,
    use_gpu: bool = False,
) -> MemoryEstimate:
    """Return the peak memory of one process of a training.

    Args:
        cost: The model's.
        num_texts: Texts of a backward pass on one device.
        num_passes: Forward passes that they make.
        accumulation: Backward passes of an optimizer step.
        workers: Processes that share a sharded training.
        zero_stage: DeepSpeed's; None for plain torch on one device.
        offload: What lies in the node's memory between uses.
        keeps_base: Whether a copy of the weights stays beside the model, as in a lane.
        exports: Whether the trained model is written, and read back to check it.
        use_gpu: Whether it trains on a GPU.

    Raises:
        ValueError: A number is below 1, or the stage cannot offload that.
    """
    if min(num_texts, num_passes, accumulation, workers) < 1:
        raise ValueError(
            "num_texts, num_passes, accumulation and workers must be at least 1, but got "
            f"{num_texts}, {num_passes}, {accumulation} and {workers}."
        )
    check_offload(zero_stage or 0, offload)
    whole = FLOAT_BYTES * cost.weights
    device, host = _training_states(cost, workers, zero_stage, offload, use_gpu=use_gpu)
    if keeps_base:
        device["base weights"] = whole
    gradients = device.pop("gradients")
    kept = num_texts * cost.text_bytes + num_passes * cost.pass_bytes
    kept += math.ceil(num_texts / num_passes) * cost.layer_bytes  # the layer in work
    overlap = gradients + kept if accumulation > 1 else max(gradients, kept)
    device["activations and gradients"] = overlap
    device["runtime"] = RUNTIME_BYTES
    # Loaded whole by every process; the export gathers it and reads it back twice on rank 0.
    copies = {"model read or written": (3 if use_gpu else 2) * whole if exports else whole}
    if use_gpu:
        return MemoryEstimate(device, host | copies | {"runtime": RUNTIME_BYTES})
    if exports:  # after the last step, when activations and gradients are gone
        device["activations and gradients"] = max(overlap, copies["model read or written"])
    merged = {name: device.get(name, 0) + host.get(name, 0) for name in device | host}
    return MemoryEstimate({}, merged)


def _training_states(
    cost: ModelCost,
    workers: int,
    zero_stage: ZeroStage | None,
    offload: Offload,
    *,
    use_gpu: bool,
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the bytes of weights, gradients, moments and buffers, on the device and off it."""
    weights, trained = FLOAT_BYTES * cost.weights, FLOAT_BYTES * cost.trained
    moments = MOMENT_BYTES * cost.trained
    if zero_stage is None:
        return {"weights": weights, "gradients": trained, "optimizer": moments}, {}
    elements = BUCKET_ELEMENTS if use_gpu else min(BUCKET_ELEMENTS, cost.trained)
    bucket = FLOAT_BYTES * elements
    if zero_stage == 0:
        bucket = min(bucket, trained) if workers > 1 else 0
        states = {"weights": weights, "gradients": trained, "optimizer": moments}
        return states | {"buffers": bucket}, {}
    shard = trained // workers
    gradients = trained + shard if zero_stage == 1 else 2 * shard
    optimizer = shard + moments // workers  # with its own float32 copy of the shard
    device = {"weights": weights, "gradients": gradients, "optimizer": optimizer}
    device["buffers"] = bucket
    if zero_stage == 3:
        device["weights"] = weights // workers
        device["buffers"] += min(weights, FLOAT_BYTES * LIVE_ELEMENTS)
    host: dict[str, int] = {}
    if offload != "none":
        host["optimizer"] = device.pop("optimizer") + 2 * shard  # gradients too, and a copy
    if offload == "weights":
        host["weights"] = device.pop("weights")
    return device, host


def _kept_bytes(
    model: PreTrainedModel, num_texts: int, tokens: int, precision: ResolvedPrecision
) -> int:
    """Return the bytes that autograd keeps of a forward pass, weights left out."""
    weights = {weight.untyped_storage()._cdata for weight in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    texts = torch.ones(num_texts, tokens, dtype=torch.long)
    inputs: dict[str, Tensor] = {"input_ids": texts, "attention_mask": texts}
    with autocast(torch.device("cpu"), precision), saved_tensors_hooks(keep, _as_it_is):
        try:
            rewards = model(**inputs).logits
        except DataDependentOutputException as error:
            raise RuntimeError(
                f"The memory of {type(model).__name__} cannot be foreseen, since its forward pass "
                "looks at the texts. Train a few steps and look."
            ) from error
    total = sum(kept.values())
    del rewards
    return total


def _as_it_is(tensor: Tensor) -> Tensor:
    """Return what autograd kept."""
    return tensor


def _with_adapters(model: PreTrainedModel, lora: LoraConfig) -> PreTrainedModel:
    """Return the model under LoRA adapters."""
    reward = RewardModel(model, cast(PreTrainedTokenizerBase, None))  # no text is tokenized
    adapted = add_lora(
        reward, rank=lora.rank, alpha=lora.alpha, target_modules=lora.target_modules
    )
    return adapted.model


def _read_config(name: str, revision: str | None, *, trust_remote_code: bool) -> Any:
    """Return the configuration of a sequence classifier with one output and a padding token."""
    folder = Path(name).expanduser()
    if (folder / ADAPTER_CONFIG).is_file():
        adapter = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        return _read_config(
            adapter["base_model_name_or_path"],
            adapter.get("revision"),
            trust_remote_code=trust_remote_code,
        )
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} holds no config.json, so it is no model folder.")
    try:
        config = AutoConfig.from_pretrained(
            folder if folder.is_dir() else name,
            revision=revision,
            trust_remote_code=trust_remote_code,
        )
    except OSError as error:
        raise FileNotFoundError(f"No config.json of {name}: {error}") from error
    config.num_labels = 1
    config.get_text_config().pad_token_id = 0
    return config


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers from remarking on fresh weights."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
