"""Writing a reward model to a folder that transformers loads."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from scpo.files.atomic import atomic_folder
from scpo.models.reward_model import RewardModel


def save_reward_model(
    reward: RewardModel, out: Path, state: Mapping[str, Tensor] | None = None
) -> Path:
    """Write a float32 Hugging Face folder, whole or not at all, in place of an older one.

    A model becomes a folder that AutoModelForSequenceClassification loads, a LoRA model an
    adapter's folder that names its base; `scpo.models.export.export_reward_model` merges and
    checks. `state` are weights by name, gathered from a sharded engine; None takes the model's.
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
        # Its own save_pretrained would import DeepSpeed where accelerate is installed.
        reward.model.config.architectures = [type(reward.model).__name__]
        reward.model.config.save_pretrained(folder)
        apart = _without_sharing(weights)
        save_file(apart, folder / "model.safetensors", metadata={"format": "pt"})
    else:  # never ask the hub whether the vocabulary grew
        reward.model.save_pretrained(folder, state_dict=weights, save_embedding_layers=False)
    reward.tokenizer.save_pretrained(folder)


def _without_sharing(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors that share no memory, as safetensors wants them."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in weights.items():
        address = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if address in seen else tensor.contiguous()
        seen.add(address)
    return apart
