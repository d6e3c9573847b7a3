"""Features: the vector of each text that the reward head reads, computed once and cached.

With the backbone frozen a reward is linear in them, r = w . phi + b, with w and b of the head's
last layer, so thousands of heads train on the features of one forward pass a text. The cache
holds one folder per model and precision, of parts that are named by the hash of their bytes and
whose rows are named by the hash of a text's tokens: a damaged part is moved aside and computed
again, and an interrupted run resumes.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scpo.arrays import IntArray
from scpo.choices import Precision
from scpo.countries.reference_cache import plan_missing
from scpo.countries.scoring import run_forwards
from scpo.files.part_files import find_parts, keyed_folder, write_part
from scpo.models.classifier import is_backbone, plain_model
from scpo.models.reward_model import LoadedModel
from scpo.tokens.encoding import TokenizedTexts

FeatureArray: TypeAlias = NDArray[np.float32]

FEATURE_SCHEME = 2  # version of what a feature is, and of the cache's files
_TOLERANCE = 1e-3  # of a reward, as a share of the largest, against the head on its features


@dataclass(frozen=True)
class FeatureReport:
    """What one call of `features_with_cache` did; counts as of `ScoringReport`.

    Attributes:
        features: Feature vector of each text asked for, shape (B, D).
    """

    features: FeatureArray
    num_computed: int
    num_cached: int
    num_quarantined: int


def reward_head(reward: LoadedModel) -> nn.Linear:
    """Return the last layer: the one linear map to one output above the backbone.

    Raises:
        ValueError: There is none, or more than one.
    """
    model = plain_model(reward.model)
    heads = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module.out_features == 1
        and not is_backbone(model, name)
        and ".original_module" not in name  # an adapter trains a copy of the head
    ]
    if len(heads) != 1:
        raise ValueError(
            f"{type(model).__name__} must have one linear layer with one output above its "
            f"backbone, but has {len(heads)}. Only such a head can be trained on features."
        )
    return heads[0]


def compute_features(
    reward: LoadedModel,
    texts: TokenizedTexts,
    which: IntArray,
    *,
    precision: Precision = "auto",
) -> FeatureArray:
    """Return what the reward head reads of each named text, batched as `score_texts` does.

    Arguments as of `score_texts`.

    Returns:
        Features in the order of `which`, shape (B, D), float32.

    Raises:
        ValueError: The model has no linear head, or it is not the head on one vector a text
            that makes the reward.
        RuntimeError: A feature is not finite.
    """
    head = reward_head(reward)
    found = np.zeros((len(texts), head.in_features), dtype=np.float32)
    with torch.inference_mode(), inputs_of(head) as seen:
        for forward, rewards in run_forwards(reward, texts, which, precision=precision):
            found[forward] = linear_features(head, seen, rewards).cpu().numpy()
            seen.clear()
    return finite_features(found[which])


def finite_features(features: FeatureArray) -> FeatureArray:
    """Return features, shape (B, D), or refuse them if one is not finite."""
    if not np.all(np.isfinite(features)):
        raise RuntimeError(
            f"Features must be finite, but some of {len(features)} texts are NaN or infinity. "
            "Try `precision: fp32`, or check the model's weights."
        )
    return features


def features_folder(cache: Path, *, model_hash: str, precision: str) -> Path:
    """Return the cache's folder for one model; how texts were cut is in their tokens."""
    key = {"model": model_hash, "precision": precision, "scheme": FEATURE_SCHEME}
    return keyed_folder(cache / "features", key)


def features_with_cache(
    reward: LoadedModel,
    texts: TokenizedTexts,
    which: IntArray,
    folder: Path,
    *,
    precision: Precision = "auto",
    compute: Callable[..., FeatureArray] | None = None,
) -> FeatureReport:
    """Return the features of each named text, from the cache where it has them.

    `which`, shape (B,), B >= 1, names the texts; `folder` is that of `features_folder`, created
    when missing, and `precision` the one in its key. `compute` gets all that the cache lacks at
    once, with arguments as of `compute_features` after its first; None for `reward` here.

    Raises:
        ValueError: As of `compute_features`.
        RuntimeError: A feature is not finite.
    """
    keys = token_keys(texts, which)
    plan = plan_missing(*read_features(folder), keys, texts.lengths[which])
    shards = plan.shards
    if compute is None:
        compute = partial(compute_features, reward)
    elif shards:
        shards = [np.concatenate(shards)]
    for shard in shards:
        part = [keys[number] for number in shard]
        features = compute(texts, which[shard], precision=precision)
        _write_features(folder, part, features)
        plan.known.update(zip(part, features, strict=True))
    features = np.stack([plan.known[key] for key in keys])
    return FeatureReport(features, plan.num_missing, plan.num_cached, plan.num_quarantined)


def token_keys(texts: TokenizedTexts, which: IntArray) -> list[str]:
    """Return a content key per named text, of its tokens and their types, 32 digits."""
    keys = []
    for text in which.tolist():
        tokens = slice(texts.offsets[text], texts.offsets[text + 1])
        content = texts.ids[tokens].tobytes() + texts.types[tokens].tobytes()
        keys.append(hashlib.sha256(content).hexdigest()[:32])
    return keys


def read_features(folder: Path) -> tuple[dict[str, FeatureArray], int]:
    """Return all features of a folder, and how many damaged parts were moved aside."""
    known: dict[str, FeatureArray] = {}
    paths, num_quarantined = find_parts(folder, "arrow")
    for path in paths:
        with pa.memory_map(str(path)) as file:
            batch = pa.ipc.open_file(file).get_batch(0)
        rows = batch["features"].flatten().to_numpy().reshape(batch.num_rows, -1)
        known.update(zip(batch["key"].to_pylist(), rows, strict=True))
    return known, num_quarantined


@contextmanager
def inputs_of(head: nn.Linear) -> Iterator[list[Tensor]]:
    """Yield a list to which every call of the head adds its input, in float32."""
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, given: seen.append(given[0].float()))
    try:
        yield seen
    finally:
        handle.remove()


def linear_features(head: nn.Linear, seen: list[Tensor], rewards: Tensor) -> Tensor:
    """Return the features of a batch, shape (B, D), if the head on them makes the rewards."""
    features = torch.cat([part.reshape(-1, head.in_features) for part in seen])
    made = features @ head.weight[0].float()
    if head.bias is not None:
        made = made + head.bias.float()
    scale = float(rewards.abs().max().nan_to_num(0.0)) + 1.0
    differs = made.shape != rewards.shape or (made - rewards).abs().max() > _TOLERANCE * scale
    if differs:
        raise ValueError(
            f"The reward must be the head's linear map of one vector a text, but {len(rewards)} "
            f"texts gave {len(features)} vectors or other rewards. This model cannot be probed."
        )
    return features


def _write_features(folder: Path, keys: list[str], features: FeatureArray) -> None:
    values = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
    batch = pa.record_batch({"key": pa.array(keys, pa.string()), "features": values})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    write_part(folder, sink.getvalue().to_pybytes(), "arrow")
