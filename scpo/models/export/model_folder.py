"""A trained reward model to a folder that is known to score as the training did.

In come a model, or its configuration and gathered weights, and a handful of texts with their
rewards; out comes a Hugging Face folder. It is read back and scores the texts before it replaces
an older folder, so a lost head, a wrong merge or another pooling is found here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils import logging as transformers_logging

from scpo.arrays import FloatArray
from scpo.files.atomic import atomic_folder, write_json
from scpo.files.pulse import pulse
from scpo.models.classifier import compute_rewards, plain_model
from scpo.models.devices import trim_memory
from scpo.models.export.card import write_export_card
from scpo.models.export.readers import tell_readers
from scpo.models.folder.contract import ModelFacts, write_facts
from scpo.models.loading import load_reward_model
from scpo.models.lora import has_lora, merge_state
from scpo.models.reward_model import LoadedModel, takes_token_types
from scpo.models.training_memory import FILE_BYTES
from scpo.tokens.encoding import TokenizedTexts, pad_texts

_TOLERANCE = 1e-3


def export_reward_model(
    reward: LoadedModel,
    out: Path,
    *,
    texts: TokenizedTexts,
    expected: FloatArray,
    weights: Iterable[tuple[str, Tensor]] | None = None,
    merge: bool = True,
    file_bytes: int = FILE_BYTES,
    facts: ModelFacts | None = None,
) -> Path:
    """Write a float32 model folder that scores as expected, and return it.

    Rewards may differ by 1e-3 of the largest |expected|; a failure leaves an older folder.

    Args:
        reward: Model (for its configuration and, without `weights`, its own) and tokenizer.
        out: Folder; an older one is replaced.
        texts: A handful of texts, U; they go through the CPU in one batch.
        expected: Their rewards, of float32 matrix products, shape (U,).
        weights: By name, as an engine yields them; they are written as they come.
        file_bytes: Size of a file of weights; no more than it is held at a time.
        merge: Write a LoRA model as one whole model; else as an adapter that names its base.
        facts: What the model is, for its scpo.json and its card.

    Raises:
        RuntimeError: The folder lacks weights, or its rewards differ from those expected.
        ValueError: `texts` and `expected` differ in number, or there are none.
    """
    if len(texts) != len(expected) or not len(texts):
        raise ValueError(
            f"As many rewards as texts, and some, are needed, but got {len(expected)} rewards "
            f"for {len(texts)} texts."
        )
    facts = facts or ModelFacts()
    with atomic_folder(out) as temporary:
        if merge and has_lora(reward):
            given = reward.model.state_dict().items() if weights is None else weights
            on_cpu = {name: value.detach().cpu() for name, value in given}
            write_model_files(merge_state(reward, on_cpu), temporary)
        else:
            write_model_files(reward, temporary, weights, file_bytes=file_bytes)
        tell_readers(temporary, reward.tokenizer, facts)
        write_facts(temporary, facts)
        write_export_card(temporary, facts, plain_model(reward.model).name_or_path or "")
        try:
            again = load_reward_model(str(temporary), trust_remote_code=reward.trust_remote_code)
        except ValueError as error:
            raise RuntimeError(f"The exported folder must load, but {error}") from error
        allowed = _TOLERANCE * (float(np.abs(expected).max()) or 1.0)
        difference = _largest_difference(again, texts, expected)
        if not difference <= allowed:
            raise RuntimeError(_describe("the exported folder", difference, allowed))
        if not has_lora(again):
            plain = _load_plain(temporary, trust_remote_code=reward.trust_remote_code)
            difference = _largest_difference(replace(again, model=plain), texts, expected)
            if not difference <= allowed:
                raise RuntimeError(_describe("plain transformers", difference, allowed))
    return out


def write_model_files(
    reward: LoadedModel,
    folder: Path,
    weights: Iterable[tuple[str, Tensor]] | None = None,
    *,
    file_bytes: int = FILE_BYTES,
) -> None:
    """Write the float32 files that transformers loads into an existing folder.

    An adapter becomes a folder that names its base. `weights` are pairs of name and tensor,
    written as they come; None takes the model's.
    """
    given = reward.model.state_dict().items() if weights is None else weights
    on_cpu = (
        (name, (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu())
        for name, tensor in given
    )
    transformers_logging.disable_progress_bar()
    if isinstance(reward.model, PreTrainedModel):
        # Its own save_pretrained would import DeepSpeed where accelerate is installed.
        reward.model.config.architectures = [type(reward.model).__name__]
        reward.model.config.dtype = torch.float32  # in which others load it
        reward.model.config.save_pretrained(folder)
        write_weights(on_cpu, folder, file_bytes)
    else:  # never ask the hub whether the vocabulary grew
        reward.model.save_pretrained(folder, state_dict=dict(on_cpu), save_embedding_layers=False)
    reward.tokenizer.save_pretrained(folder)


def write_weights(weights: Iterable[tuple[str, Tensor]], folder: Path, file_bytes: int) -> None:
    """Write tensors into safetensors files of a size at most, and the index of several.

    No more than one file's tensors are held at a time; a larger tensor has a file of its own.
    """
    files: list[list[str]] = []  # names of tensors
    total, held = 0, 0
    part: dict[str, Tensor] = {}

    def write() -> None:
        save_file(_without_sharing(part), folder / f"part-{len(files)}", metadata={"format": "pt"})
        files.append(list(part))
        part.clear()
        trim_memory()

    for name, tensor in weights:
        if part and held + tensor.nbytes > file_bytes:
            write()
            held = 0
        part[name] = tensor
        held += tensor.nbytes
        total += tensor.nbytes
        pulse.beat()
    write()
    if len(files) == 1:
        (folder / "part-0").rename(folder / SAFE_WEIGHTS_NAME)
        return
    where: dict[str, str] = {}
    for number, names in enumerate(files):
        file = f"model-{number + 1:05}-of-{len(files):05}.safetensors"
        (folder / f"part-{number}").rename(folder / file)
        where |= dict.fromkeys(names, file)
    write_json(
        folder / SAFE_WEIGHTS_INDEX_NAME, {"metadata": {"total_size": total}, "weight_map": where}
    )


def _load_plain(folder: Path, *, trust_remote_code: bool) -> Any:
    """Return the model as anybody without this package loads it."""
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, use_safetensors=True, trust_remote_code=trust_remote_code
    )
    return model.eval()


def _largest_difference(reward: LoadedModel, texts: TokenizedTexts, expected: FloatArray) -> float:
    batch = pad_texts(
        texts,
        np.arange(len(texts)),
        pad_id=reward.tokenizer.pad_token_id,
        with_types=takes_token_types(reward),
        device=reward.model.device,
    )
    with torch.inference_mode():
        rewards = compute_rewards(reward.model, batch).double().cpu().numpy()
    return float(np.abs(rewards - expected).max())


def _describe(who: str, difference: float, allowed: float) -> str:
    return (
        f"Rewards must agree within {allowed:.3g}, but those of {who} differ by up to "
        f"{difference:.6g} from those expected."
    )


def _without_sharing(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors that share no memory, as safetensors wants them."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in weights.items():
        address = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if address in seen else tensor.contiguous()
        seen.add(address)
    return apart
