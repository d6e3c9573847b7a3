"""Reward models as Hugging Face sequence classifiers with one output, in and out.

In comes a model name or folder (whole, or a LoRA adapter that names its base), out comes a
float32 model whose dropout is off. A checkpoint without a trained reward head is refused unless
a new head is asked for: SCPO *continues* a reward model, and a silently fresh head is the
classic way to lose it. What a loaded model does otherwise than the plain class (float32 head,
pooling by mask, checkpointed layers) hangs on the class of its modules, not on the instance, so
that deepcopy, state dicts and peft see ordinary modules.
"""

import hashlib
import json
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_layers import (
    GenericForSequenceClassification,
    GradientCheckpointingLayer,
)
from transformers.modeling_outputs import SequenceClassifierOutputWithPast
from transformers.utils import logging as transformers_logging

from scpo.atomic import hash_file, sync_file, sync_folder

MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.py")
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class RewardModel:
    """A reward model with what is needed to feed it.

    Attributes:
        model: Sequence classifier with one label, float32, in eval mode; a `peft.PeftModel`
            around it after `scpo.adapters.add_lora` or from an adapter's folder.
        tokenizer: Its tokenizer.
        revision: Commit of a model from the hub, None for one from a folder.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    revision: str | None = None

    def to(self, device: torch.device) -> "RewardModel":
        """Move the model to a device and return this reward model."""
        nn.Module.to(self.model, device)
        return self


def resolve_model(name: str, *, revision: str | None = None) -> Path:
    """Return the folder of a model: a local folder as it is, a hub name downloaded.

    Raises:
        FileNotFoundError: A path was given (it has a separator and starts like one, or ends up
            nowhere on the hub) that is not a folder with a config.json or adapter_config.json.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not any((folder / file).is_file() for file in ("config.json", ADAPTER_CONFIG)):
            raise FileNotFoundError(f"{folder} holds no config.json, so it is no model folder.")
        return folder
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise FileNotFoundError(
            f"No model folder at {name}. Give a folder or a hub name such as owner/model."
        )
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(MODEL_FILES)))
    except OSError as error:
        raise FileNotFoundError(
            f"No model folder at {name}, and the hub did not give {name!r}: {error}"
        ) from error


def load_reward_model(
    name: str,
    *,
    revision: str | None = None,
    new_head: bool = False,
    head_seed: int = 0,
    trust_remote_code: bool = False,
) -> RewardModel:
    """Load a reward model in float32, from safetensors only, with dropout off.

    Args:
        name: Model folder or hub name; an adapter's folder loads its base too.
        revision: Hub revision (a commit is best).
        new_head: Put a fresh reward head on a backbone; without it a missing head is refused.
        head_seed: Seed of the fresh head.
        trust_remote_code: Whether the checkpoint may bring its own Python code.

    Raises:
        FileNotFoundError: No such model, or an adapter without safetensors.
        RuntimeError: It is an adapter, and peft is not installed.
        ValueError: The checkpoint lacks weights (such as the head), or has another number of
            outputs than one, or no padding token, or one that this model cannot tell from the
            end of a text; or a new head was asked of an adapter.
    """
    folder = resolve_model(name, revision=revision)
    if (folder / ADAPTER_CONFIG).is_file():
        if new_head:
            raise ValueError(
                f"{name}: a new head needs a whole model, but this is an adapter. "
                "Export it merged (`merge=True`) and take that folder."
            )
        return _load_adapter(name, folder, trust_remote_code=trust_remote_code)
    code = {"trust_remote_code": trust_remote_code}
    model, missing = _load_classifier(folder, new_head=new_head, head_seed=head_seed, **code)
    _check_loaded(name, model, missing, new_head=new_head)
    tokenizer = _load_tokenizer(name, folder, trust_remote_code=trust_remote_code)
    _adapt_classes(name, model, tokenizer)
    local = Path(name).expanduser().is_dir()
    model.name_or_path = str(folder.resolve()) if local else name
    return RewardModel(model.eval(), tokenizer, None if local else folder.name)


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
    return rewards.squeeze(-1).float()


def takes_token_types(reward: RewardModel) -> bool:
    """Tell whether the model reads `token_type_ids`, by its tokenizer's declaration."""
    return "token_type_ids" in reward.tokenizer.model_input_names


def takes_packed_rows(reward: RewardModel) -> bool:
    """Tell whether several texts can share a row through a 4D mask and `pool_at`.

    A decoder that pools by mask, with full attention in every layer: transformers gives a 4D
    mask to all layers alike, so a sliding window would be lost, and a state-space layer reads
    no mask at all.
    """
    model = plain_model(reward.model)
    config = model.config.get_text_config().to_dict()
    return (
        isinstance(model, _MaskPooling)
        and model.config._attn_implementation in ("sdpa", "eager")
        and not model._is_stateful
        and config.get("sliding_window") is None
        and set(config.get("layer_types") or ["full_attention"]) == {"full_attention"}
    )


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


def content_hash(folder: Path) -> str:
    """Return a hash of a model folder's weights, configuration and tokenizer files.

    The hash of an adapter covers its base too.
    """
    digest = hashlib.sha256()
    names = {file for pattern in MODEL_FILES for file in folder.glob(pattern)}
    for file in sorted(names):
        digest.update(f"{file.name}\0{hash_file(file)}\0".encode())
    if (folder / ADAPTER_CONFIG).is_file():
        base, revision = _base_of(folder)
        digest.update(content_hash(resolve_model(base, revision=revision)).encode())
    return digest.hexdigest()


def head_digest(model: nn.Module) -> str:
    """Return a sha256 over the names and bytes of all weights above the backbone.

    Of an adapter it is the trained copy of the head that counts, under its plain names: the
    digest stays when the adapter is merged.
    """
    plain = plain_model(model)
    digest = hashlib.sha256()
    for name, tensor in sorted(plain.state_dict().items()):
        if _is_backbone(plain, name) or ".original_module." in name:
            continue
        plain_name = name.replace(".modules_to_save.default.", ".")
        digest.update(f"{plain_name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_reward_model(
    reward: RewardModel, out: Path, state: Mapping[str, Tensor] | None = None
) -> Path:
    """Write a float32 Hugging Face folder, whole or not at all.

    A model becomes a folder that AutoModelForSequenceClassification loads, a LoRA model an
    adapter's folder that names its base; `scpo.export.export_reward_model` merges and checks.

    Args:
        reward: Model (for its configuration and, without `state`, its weights) and tokenizer.
        out: Folder to write; an older model there is replaced.
        state: Weights by name, gathered from a sharded engine.

    Returns:
        `out`.
    """
    with atomic_folder(out) as temporary:
        write_model_files(reward, temporary, state)
    return out


def write_model_files(
    reward: RewardModel, folder: Path, state: Mapping[str, Tensor] | None = None
) -> None:
    """Write the files of `save_reward_model` into an existing folder."""
    weights = {
        name: (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu()
        for name, tensor in (reward.model.state_dict() if state is None else state).items()
    }
    transformers_logging.disable_progress_bar()
    if isinstance(reward.model, PreTrainedModel):
        reward.model.save_pretrained(folder, state_dict=weights)
    else:  # never ask the hub whether the vocabulary grew
        reward.model.save_pretrained(folder, state_dict=weights, save_embedding_layers=False)
    reward.tokenizer.save_pretrained(folder)


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Yield a new folder beside `out` that takes its place when the block ends well.

    The old folder is moved aside before and deleted after, so a whole one, old or new, is on
    disk at every moment. When the block raises, `out` is untouched.

    Args:
        out: Folder to make or to replace. Its parents are created when missing.

    Yields:
        The empty folder to write to.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        for path in temporary.rglob("*"):
            (sync_folder if path.is_dir() else sync_file)(path)
        sync_folder(temporary)
        _replace_folder(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


class _Float32Head(nn.Module):
    """A module above the backbone: floating inputs become float32, autocast is off inside.

    Rewards of bf16 collapse into ties.
    """

    def forward(self, hidden: Tensor, *rest: Any, **named: Any) -> Any:
        with torch.autocast(hidden.device.type, enabled=False):
            return super().forward(hidden.float(), *rest, **named)


class _MaskPooling(nn.Module):
    """A decoder that scores the last token its attention mask calls real.

    Transformers pools the right-most token that is not padding by its id, which is another one
    where the padding is the end token. The head sees the pooled states only.
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
            places = (column * mask).argmax(1, keepdim=True)
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


class _Checkpointed(nn.Module):
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


def _mix_in(mixin: Any, module: Any) -> None:
    """Change a module's class in place, once."""
    base: Any = type(module)
    if not isinstance(module, mixin):
        module.__class__ = _mixed_class(mixin, base)


def _adapt_classes(
    name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Give a loaded model its padding token, float32 head and pooling by mask."""
    pad_id = tokenizer.pad_token_id
    pools_by_id = type(model).forward is GenericForSequenceClassification.forward
    if pad_id == tokenizer.eos_token_id and not pools_by_id:
        raise ValueError(
            f"{name}: the padding token must differ from the end token for "
            f"{type(model).__name__}, but both are {tokenizer.pad_token!r}. "
            "Set pad_token in its tokenizer_config.json (any unused token but eos)."
        )
    model.config.pad_token_id = pad_id
    if pools_by_id:
        _mix_in(_MaskPooling, model)
    for child, module in model.named_children():
        if child != model.base_model_prefix:
            _mix_in(_Float32Head, module)


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


def _load_classifier(
    folder: Path, *, new_head: bool, head_seed: int, trust_remote_code: bool
) -> tuple[PreTrainedModel, list[str]]:
    """Return the plain class with its weights, and the names of those that are fresh."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # `_check_loaded` says it better
    transformers_logging.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers go on as before
            torch.manual_seed(head_seed)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                trust_remote_code=trust_remote_code,
                **({"num_labels": 1, "ignore_mismatched_sizes": True} if new_head else {}),
            )
    finally:
        transformers_logging.set_verbosity(verbosity)
    mismatched = {key for key, *_ in info["mismatched_keys"]}  # a head of other size
    return model, sorted({*info["missing_keys"], *mismatched})


def _load_tokenizer(
    name: str, folder: Path, *, trust_remote_code: bool
) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model folder; one without padding is refused."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    if tokenizer.pad_token_id is None:
        raise ValueError(
            f"{name}: a padding token must be set, but the tokenizer has none. "
            "Set pad_token in its tokenizer_config.json (any unused token but eos)."
        )
    return tokenizer


def _load_adapter(name: str, folder: Path, *, trust_remote_code: bool) -> RewardModel:
    """Return base and adapter; the head is the adapter's, so the base may lack one."""
    lora = require_peft()
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise FileNotFoundError(
            f"{folder} holds no {ADAPTER_WEIGHTS}, and pickled weights are not read. "
            "Save the adapter with safe_serialization=True."
        )
    base_name, revision = _base_of(folder)
    base_folder = resolve_model(base_name, revision=revision)
    code = {"trust_remote_code": trust_remote_code}
    base, fresh = _load_classifier(base_folder, new_head=True, head_seed=0, **code)
    _check_loaded(base_name, base, fresh, new_head=True)
    tokenizer = _load_tokenizer(name, folder, **code)
    _adapt_classes(name, base, tokenizer)
    base.name_or_path = base_name
    config = lora.PeftConfig.from_pretrained(folder)
    config.inference_mode = False  # the adapter trains on
    with torch.random.fork_rng(devices=[]), quiet_peft():
        model = lora.get_peft_model(base, config)
    weights = load_file(folder / ADAPTER_WEIGHTS)
    needed = {*lora.get_peft_model_state_dict(model, save_embedding_layers=False)}
    needed |= {f"base_model.model.{key}" for key in fresh}
    if missing := sorted(needed - weights.keys()):
        raise ValueError(
            f"{name}: the adapter lacks {', '.join(missing[:4])}"
            f"{' ...' if len(missing) > 4 else ''}, so these weights would be random. "
            "Export it again from the run that trained it."
        )
    lora.set_peft_model_state_dict(model, weights)
    return RewardModel(model.eval(), tokenizer, revision)


def _base_of(folder: Path) -> tuple[str, str | None]:
    """Return the name and revision of an adapter's base."""
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    return config["base_model_name_or_path"], config.get("revision")


def _is_backbone(model: PreTrainedModel, name: str) -> bool:
    """Tell whether a weight belongs to the backbone, by its name."""
    return name.startswith(f"{model.base_model_prefix}.")


def _check_loaded(
    name: str, model: PreTrainedModel, missing: list[str], *, new_head: bool
) -> None:
    """Refuse a checkpoint that did not fill the model, or that scores more than one number."""
    if missing and not (new_head and not any(_is_backbone(model, key) for key in missing)):
        raise ValueError(
            f"{name}: the checkpoint lacks {', '.join(missing[:4])}"
            f"{' ...' if len(missing) > 4 else ''}, so these weights would be random. "
            "Use a trained reward model, or make one with `scpo train-global --backbone`."
        )
    if model.config.num_labels != 1:
        raise ValueError(
            f"{name}: a reward model has one output, but this one has {model.config.num_labels}. "
            "Train a global model from it with `scpo train-global --backbone`."
        )


def _replace_folder(new: Path, out: Path) -> None:
    """Rename `new` to `out`, an older folder there aside and then away."""
    old = new.with_suffix(".old")
    if out.exists():
        out.rename(old)
    try:
        new.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    sync_folder(out.parent)
    shutil.rmtree(old, ignore_errors=True)
