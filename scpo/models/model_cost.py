"""What a model costs in memory, from its config.json alone: no weights are loaded.

The model is made of fake tensors, which have shapes and no memory, and one forward pass shows what
autograd would keep, for any architecture. It is an upper bound: every text is as long as it may
be. `scpo.models.training_memory` makes a training of it.

torch documents FakeTensorMode, but keeps it in a module named as private. The public alternative,
meta tensors, knows no autocast. A torch that moves it fails at this import.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, UntypedStorage
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from scpo.choices import ResolvedPrecision
from scpo.config import LoraConfig
from scpo.models.classifier import adapt_classes, enable_activation_checkpointing
from scpo.models.devices import autocast
from scpo.models.folder.checks import CONFIG_FILE, check_layers, in_one_line, read_object
from scpo.models.lora import add_lora
from scpo.models.model_source import ModelSource, find_model
from scpo.models.reward_model import LoadedModel, quiet_transformers

_TOKENIZER = cast(PreTrainedTokenizerBase, SimpleNamespace(pad_token_id=0))  # never used


@dataclass(frozen=True)
class ModelCost:
    """What a model costs, before it is known how it is trained.

    Attributes:
        weights: Elements of all its weights.
        trained: Elements of those that get gradients.
        pass_bytes: Kept from each forward pass to its backward pass, whatever its size.
        text_bytes: Kept for each text.
        layer_bytes: What one layer keeps of a text, or would if it were not recomputed.
        layer_pass_bytes: The same of a pass, whatever its size.
        recomputed: Whether layers are computed twice.
    """

    weights: int
    trained: int
    pass_bytes: int
    text_bytes: int
    layer_bytes: int
    layer_pass_bytes: int = 0
    recomputed: bool = False


def measure_model(
    model: str | Path | ModelSource,
    *,
    max_tokens: int,
    precision: ResolvedPrecision,
    revision: str | None = None,
    lora: LoraConfig | None = None,
    activation_checkpointing: bool = False,
    trust_remote_code: bool = False,
) -> ModelCost:
    """Return what a model costs, for texts of `max_tokens` tokens or as many as it has positions.

    Of a model on the hub only the configuration is fetched; an adapter counts as its base. `lora`
    are adapters to train instead of all weights; with `activation_checkpointing` layers are
    computed twice.

    Raises:
        FileNotFoundError: There is no config.json, here or on the hub.
        OSError: The hub or the object store does not answer or refuses.
        ValueError: It is of no sequence classifier that transformers knows.
        RuntimeError: The model cannot be traced, or LoRA is asked for and peft not installed.
    """
    source = find_model(model, revision=revision)
    config = _read_config(source, trust_remote_code=trust_remote_code)
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    tokens = min(max_tokens, positions or max_tokens)
    with torch.device("meta"), quiet_transformers():
        network = AutoModelForSequenceClassification.from_config(
            config, trust_remote_code=trust_remote_code
        ).eval()
        adapt_classes(network, _TOKENIZER.pad_token_id)
        if lora is not None:  # here and not below: peft moves what it makes
            reward = LoadedModel(network, _TOKENIZER)
            network = add_lora(
                reward, rank=lora.rank, alpha=lora.alpha, target_modules=lora.target_modules
            ).model
    weights = list(network.parameters())
    with FakeTensorMode(allow_non_fake_inputs=True):
        network.to_empty(device="cpu")
        per_pass, per_text = _kept_bytes(network, tokens, precision)
        num_layers = max(1, int(config.get_text_config().num_hidden_layers))
        cost = ModelCost(
            weights=sum(weight.numel() for weight in weights),
            trained=sum(weight.numel() for weight in weights if weight.requires_grad),
            pass_bytes=per_pass,
            text_bytes=per_text,
            layer_bytes=per_text // num_layers,
            layer_pass_bytes=per_pass // num_layers,
        )
        if not activation_checkpointing:
            return cost
        enable_activation_checkpointing(network)
        per_pass, per_text = _kept_bytes(network, tokens, precision)
    return replace(cost, pass_bytes=per_pass, text_bytes=per_text, recomputed=True)


def _kept_bytes(
    model: PreTrainedModel, tokens: int, precision: ResolvedPrecision
) -> tuple[int, int]:
    """Return the bytes kept of a forward pass whatever its texts, and of each text."""
    one, two = (_kept_of_pass(model, count, tokens, precision) for count in (1, 2))
    return max(0, 2 * one - two), two - one


def _kept_of_pass(
    model: PreTrainedModel, num_texts: int, tokens: int, precision: ResolvedPrecision
) -> int:
    """Return the bytes that autograd keeps of a forward pass, weights left out."""
    # Storages are held, so that no other one gets the same id.
    weights = {id(s): s for s in (weight.untyped_storage() for weight in model.parameters())}
    kept: dict[int, UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in weights:
            kept[id(storage)] = storage
        return tensor

    texts = torch.ones(num_texts, tokens, dtype=torch.long)
    inputs: dict[str, Tensor] = {"input_ids": texts, "attention_mask": texts}
    with (
        autocast(torch.device("cpu"), precision),
        saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        try:
            model(**inputs)
        except DataDependentOutputException as error:
            raise RuntimeError(
                f"The memory of {type(model).__name__} cannot be estimated, because its forward "
                "pass depends on the texts. Train a few steps and measure it."
            ) from error
    return sum(storage.nbytes() for storage in kept.values())


def _read_config(source: ModelSource, *, trust_remote_code: bool) -> Any:
    """Return the configuration of a sequence classifier with one output."""
    folder = (source.base or source).config_folder()
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(f"{source} holds no {CONFIG_FILE}, so it is no model.")
    check_layers(read_object(folder / CONFIG_FILE), str(folder / CONFIG_FILE))
    with in_one_line(str(folder / CONFIG_FILE)):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    config.num_labels = 1
    return config
