"""A reward model in memory, and the folder or hub name it comes from."""

import copy
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from scpo.files.atomic import hash_once
from scpo.files.buckets import MANIFEST, RemoteFolder
from scpo.files.places import is_remote
from scpo.models.fit_together import takes_argument
from scpo.models.folder.contract import ModelFacts, is_model_file, model_files
from scpo.models.model_source import ModelSource, find_model


@dataclass(frozen=True)
class LoadedModel:
    """A reward model with what is needed to feed it.

    `model` is a sequence classifier with one label, float32, in eval mode; a `peft.PeftModel`
    around it after `scpo.models.lora.add_lora` or from an adapter's folder. `revision` is the
    commit of a model from the hub, None for one from a folder. `facts` are those of its scpo.json,
    None for a model that was not exported here.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    revision: str | None = None
    trust_remote_code: bool = False
    facts: ModelFacts | None = None

    def to(self, device: torch.device) -> "LoadedModel":
        """Move the model to a device and return this reward model."""
        nn.Module.to(self.model, device)
        return self


def fresh_model(base: LoadedModel, device: torch.device, *, stays_mapped: bool) -> LoadedModel:
    """Return a model with its own modules and the base's weights, in float32.

    Args:
        base: The model as loaded, on the CPU.
        device: Where the weights go.
        stays_mapped: Leave the weights in the mapped files, for an engine to shard; nothing may
            write to them.
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


def takes_token_types(reward: LoadedModel) -> bool:
    """Tell whether the tokenizer gives `token_type_ids` and the model reads them."""
    name = "token_type_ids"
    return name in reward.tokenizer.model_input_names and takes_argument(reward.model, name)


def content_hash(model: str | Path | ModelSource) -> str:
    """Return a hash of a model's weights, configuration and tokenizer files.

    The hash of an adapter covers its base too.
    """
    source = find_model(model)
    digest = hashlib.sha256()
    for name, sha256 in sorted(_hash_files(source).items()):
        digest.update(f"{name}\0{sha256}\0".encode())
    if source.base is not None:
        digest.update(content_hash(source.base).encode())
    return digest.hexdigest()


def _hash_files(source: ModelSource) -> dict[str, str]:
    """Return the sha256 of a model's files; an object store's manifest has them."""
    if is_remote(source.name):
        manifest = json.loads(RemoteFolder(source.name).read(MANIFEST))
        files = manifest["files"].items()
        return {name: held["sha256"] for name, held in files if is_model_file(name)}
    return {file.name: hash_once(file) for file in model_files(source.folder())}


def require_peft() -> ModuleType:
    """Return the peft package, the optional extra `lora`.

    Raises:
        RuntimeError: It is not installed.
    """
    try:
        return import_module("peft")
    except ImportError as error:
        raise RuntimeError("LoRA needs peft: pip install 'scpo[lora]'") from error


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Keep peft from warning about a property of transformers that it still asks for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is", FutureWarning)
        yield


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from remarking on fresh weights and from drawing progress bars."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
