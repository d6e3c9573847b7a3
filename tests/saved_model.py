"""A reward model written to a folder without the checks of an export."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from scpo.files.atomic import atomic_folder
from scpo.models.export.model_folder import write_model_files
from scpo.models.reward_model import LoadedModel


def save_reward_model(
    reward: LoadedModel, out: Path, state: Mapping[str, Tensor] | None = None
) -> Path:
    """Write a model folder in place of an older one, and return it."""
    with atomic_folder(out) as temporary:
        write_model_files(reward, temporary, None if state is None else state.items())
    return out
