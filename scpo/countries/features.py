"""Features: one vector of each text by the frozen global model, computed once and cached.

Thousands of heads, linear in them, train on the features of one forward pass a text. The cache
holds one folder per model, pooling and precision, of parts that are named by the hash of their
bytes and whose rows are named by the hash of a text's tokens: a damaged part is moved aside and
computed again, and an interrupted run resumes.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from scpo.arrays import IntArray
from scpo.choices import Pooling, Precision
from scpo.countries.pooling import reading_vectors
from scpo.countries.reference_cache import plan_missing
from scpo.countries.scoring import run_forwards
from scpo.files.part_files import find_parts, keyed_folder, write_part
from scpo.models.reward_model import RewardModel
from scpo.tokens.encoding import TokenizedTexts

FeatureArray: TypeAlias = NDArray[np.float32]

FEATURE_SCHEME = 3  # version of what a feature is, and of the cache's files


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


def compute_features(
    reward: RewardModel,
    texts: TokenizedTexts,
    which: IntArray,
    *,
    pooling: Pooling,
    precision: Precision = "auto",
) -> FeatureArray:
    """Return the pooled vector of each named text, batched as `score_texts` does.

    Other arguments as of `score_texts`; `which` names one text at least.

    Returns:
        Features in the order of `which`, shape (B, D), float32.

    Raises:
        ValueError: As of `scpo.countries.pooling.reading_vectors`.
        RuntimeError: A feature is not finite.
    """
    row = np.zeros(len(texts), dtype=np.int64)
    parts: list[FeatureArray] = []
    start = 0
    with torch.inference_mode(), reading_vectors(reward, pooling) as read:
        for forward, rewards in run_forwards(reward, texts, which, precision=precision):
            row[forward] = np.arange(start, start + len(forward))
            start += len(forward)
            parts.append(read(rewards).cpu().numpy())
    return finite_features(np.concatenate(parts)[row[which]])


def finite_features(features: FeatureArray) -> FeatureArray:
    """Return features, shape (B, D), or refuse them if one is not finite."""
    if not np.all(np.isfinite(features)):
        raise RuntimeError(
            f"Features must be finite, but some of {len(features)} texts are NaN or infinity. "
            "Try `precision: fp32`, or check the model's weights."
        )
    return features


def features_folder(cache: Path, *, model_hash: str, precision: str, pooling: Pooling) -> Path:
    """Return the cache's folder for one model; how texts were cut is in their tokens."""
    key = {
        "model": model_hash,
        "precision": precision,
        "pooling": pooling,
        "scheme": FEATURE_SCHEME,
    }
    return keyed_folder(cache / "features", key)


def features_with_cache(
    reward: RewardModel,
    texts: TokenizedTexts,
    which: IntArray,
    folder: Path,
    *,
    pooling: Pooling,
    precision: Precision = "auto",
    compute: Callable[..., FeatureArray] | None = None,
) -> FeatureReport:
    """Return the features of each named text, from the cache where it has them.

    `which`, shape (B,), B >= 1, names the texts; `folder` is that of `features_folder`, created
    when missing, and `pooling` and `precision` are those in its key. `compute` gets all that the
    cache lacks at once, with arguments as of `compute_features` after its first; None for
    `reward` here.

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
        features = compute(texts, which[shard], pooling=pooling, precision=precision)
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


def _write_features(folder: Path, keys: list[str], features: FeatureArray) -> None:
    values = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
    batch = pa.record_batch({"key": pa.array(keys, pa.string()), "features": values})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    write_part(folder, sink.getvalue().to_pybytes(), "arrow")
