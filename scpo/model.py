"""Reward models as Hugging Face sequence classifiers with one output, in and out.

In comes a model name or folder, out comes a float32 model whose dropout is off. A checkpoint
without a trained reward head is refused unless a new head is asked for: SCPO *continues* a
reward model, and a silently fresh head is the classic way to lose it.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from scpo.atomic import hash_file

MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.py")


@dataclass(frozen=True)
class RewardModel:
    """A reward model with what is needed to feed it.

    Attributes:
        model: Sequence classifier with one label, float32, in eval mode.
        tokenizer: Its tokenizer.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def to(self, device: torch.device) -> "RewardModel":
        """Move the model to a device and return this reward model."""
        torch.nn.Module.to(self.model, device)
        return self


def resolve_model(name: str, *, revision: str | None = None) -> Path:
    """Return the folder of a model: a local folder as it is, a hub name downloaded.

    Raises:
        FileNotFoundError: A path was given (it has a separator and starts like one, or ends up
            nowhere on the hub) that is not a folder with a config.json.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
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
        name: Model folder or hub name.
        revision: Hub revision (a commit is best).
        new_head: Put a fresh reward head on a backbone; without it a missing head is refused.
        head_seed: Seed of the fresh head.
        trust_remote_code: Whether the checkpoint may bring its own Python code.

    Raises:
        FileNotFoundError: No such model.
        ValueError: The checkpoint lacks weights (such as the head), or has another number of
            outputs than one, or no padding token.
    """
    folder = resolve_model(name, revision=revision)
    code = {"trust_remote_code": trust_remote_code}
    tokenizer = AutoTokenizer.from_pretrained(folder, **code)
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # the check below says it better
    transformers_logging.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers go on as before
            torch.manual_seed(head_seed)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                **({"num_labels": 1, "ignore_mismatched_sizes": True} if new_head else {}),
                **code,
            )
    finally:
        transformers_logging.set_verbosity(verbosity)
    _check_loaded(name, model, info, new_head=new_head)
    if tokenizer.pad_token_id is None:
        raise ValueError(
            f"{name}: a padding token must be set, but the tokenizer has none. "
            "Set pad_token in its tokenizer_config.json (any unused token but eos)."
        )
    model.config.pad_token_id = tokenizer.pad_token_id
    _keep_head_in_float32(model)
    return RewardModel(model.eval(), tokenizer)


def compute_rewards(model: torch.nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the reward of each text of a batch, shape (B,), float32.

    Args:
        model: A sequence classifier with one label, or an engine that wraps it.
        batch: Model inputs of B texts, as `scpo.encoding.pad_texts` makes them.
    """
    rewards: Tensor = model(**batch).logits
    return rewards.squeeze(-1).float()


def takes_token_types(reward: RewardModel) -> bool:
    """Tell whether the model reads `token_type_ids`, by its tokenizer's declaration."""
    return "token_type_ids" in reward.tokenizer.model_input_names


def content_hash(folder: Path) -> str:
    """Return a hash of a model folder's weights, configuration and tokenizer files."""
    digest = hashlib.sha256()
    names = {file for pattern in MODEL_FILES for file in folder.glob(pattern)}
    for file in sorted(names):
        digest.update(f"{file.name}\0{hash_file(file)}\0".encode())
    return digest.hexdigest()


def save_reward_model(
    reward: RewardModel, out: Path, state: Mapping[str, Tensor] | None = None
) -> Path:
    """Write a Hugging Face folder that AutoModelForSequenceClassification loads, whole or not.

    Args:
        reward: Model (for its configuration and, without `state`, its weights) and tokenizer.
        out: Folder to write; an older model there is replaced.
        state: Weights by name, gathered from a sharded engine.

    Returns:
        `out`.
    """
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    if state is None:
        reward.model.save_pretrained(temporary)
    else:
        reward.model.config.save_pretrained(temporary)
        tensors = {name: tensor.contiguous() for name, tensor in state.items()}
        save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})
    reward.tokenizer.save_pretrained(temporary)
    shutil.rmtree(out, ignore_errors=True)
    temporary.replace(out)
    return out


def _keep_head_in_float32(model: PreTrainedModel) -> None:
    """Run everything above the backbone in float32, also under autocast.

    Rewards of bf16 collapse into ties.
    """
    for name, module in model.named_children():
        if name != model.base_model_prefix:
            module.forward = _without_autocast(module.forward)


def _without_autocast(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a module's forward: floating inputs become float32, autocast is off inside."""

    def run(*inputs: Any, **named: Any) -> Any:
        hidden, *rest = inputs
        with torch.autocast(hidden.device.type, enabled=False):
            return forward(hidden.float(), *rest, **named)

    return run


def _check_loaded(
    name: str, model: PreTrainedModel, info: Mapping[str, Any], *, new_head: bool
) -> None:
    """Refuse a checkpoint that did not fill the model, or that scores more than one number."""
    mismatched = {key for key, *_ in info["mismatched_keys"]}  # a head of other size
    missing = sorted({*info["missing_keys"], *mismatched})
    head = [key for key in missing if not key.startswith(f"{model.base_model_prefix}.")]
    if missing and not (new_head and head == missing):
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
