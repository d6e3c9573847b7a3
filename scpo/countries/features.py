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

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from scpo.arrays import FeatureArray, FloatArray, IntArray
from scpo.choices import Pooling, Precision
from scpo.countries.pooling import reading_vectors
from scpo.countries.reference_cache import plan_missing
from scpo.countries.scoring import score_texts
from scpo.files.part_files import find_parts, keyed_folder, write_part
from scpo.models.reward_model import LoadedModel
from scpo.tokens.encoding import TokenizedTexts

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


@dataclass(frozen=True)
class KeptFeatures:
    """Features that are kept from the pass that scores the texts.

    Attributes:
        folder: Of `features_folder`, created when missing.
        pooling: The one in the folder's key.
    """

    folder: Path
    pooling: Pooling

    def write(self, texts: TokenizedTexts, which: IntArray, features: FeatureArray) -> None:
        """Add the features of named texts, shape (B, D), to the cache."""
        _write_features(self.folder, token_keys(texts, which), features)

    def score(
        self,
        reward: LoadedModel,
        texts: TokenizedTexts,
        which: IntArray,
        *,
        precision: Precision = "auto",
    ) -> FloatArray:
        """Return the rewards of named texts as `score_texts` does, and keep their features."""
        rewards, features = score_and_pool(
            reward, texts, which, pooling=self.pooling, precision=precision
        )
        if features is not None:
            self.write(texts, which, features)
        return rewards


def compute_features(
    reward: LoadedModel,
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
        RuntimeError: A reward or a feature is not finite.
    """
    return _score_and_pool(reward, texts, which, pooling=pooling, precision=precision)[1]


def score_and_pool(
    reward: LoadedModel,
    texts: TokenizedTexts,
    which: IntArray,
    *,
    pooling: Pooling,
    precision: Precision = "auto",
) -> tuple[FloatArray, FeatureArray | None]:
    """Return the reward and the pooled vector of each named text, from one pass.

    Arguments as of `compute_features`. The features are None where the model gives none: whoever
    needs them says why.

    Raises:
        ValueError: A text is longer than the model has positions.
        RuntimeError: A reward or a feature is not finite.
    """
    try:
        return _score_and_pool(reward, texts, which, pooling=pooling, precision=precision)
    except ValueError:
        return score_texts(reward, texts, which, precision=precision), None


def _score_and_pool(
    reward: LoadedModel,
    texts: TokenizedTexts,
    which: IntArray,
    *,
    pooling: Pooling,
    precision: Precision,
) -> tuple[FloatArray, FeatureArray]:
    row = np.zeros(len(texts), dtype=np.int64)
    parts: list[FeatureArray] = []
    with reading_vectors(reward, pooling) as read:

        @torch.inference_mode()
        def keep(forward: IntArray, rewards: Tensor) -> None:
            start = sum(map(len, parts))
            row[forward] = np.arange(start, start + len(forward))
            parts.append(read(rewards).cpu().numpy())

        rewards = score_texts(reward, texts, which, precision=precision, on_pass=keep)
    return rewards, finite_features(np.concatenate(parts)[row[which]])


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
    reward: LoadedModel,
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
