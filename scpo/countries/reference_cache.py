"""Reference rewards: the global model scores every response once, and a cache remembers.

The cache is a folder of small Parquet parts, one folder per (model content, encoder settings);
a part's name carries the hash of its bytes, so a damaged part is detected on reading, moved aside
and scored again. Parts are written as scoring goes, so an interrupted run resumes. tau and beta
then cost an array operation, not a forward pass.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scpo.arrays import FloatArray, IntArray
from scpo.choices import Precision
from scpo.countries.scoring import score_texts
from scpo.files.part_files import find_parts, keyed_folder, write_part
from scpo.models.reward_model import LoadedModel
from scpo.text.progress import ProgressLines
from scpo.tokens.encoding import TokenizedTexts
from scpo.tokens.prompts import Prompt, prompt_key

REFERENCE_SCHEME = 4  # version of the way texts become tokens, and tokens a reward
PART_TEXTS = 512


@dataclass(frozen=True)
class ScoringReport:
    """What scoring did: the reward of each text, shape (U,), and counts of distinct texts.

    `num_quarantined` counts damaged parts of the cache that were moved aside.
    """

    rewards: FloatArray
    num_scored: int
    num_cached: int
    num_quarantined: int


@dataclass(frozen=True)
class ScoringPlan:
    """What a cache knows about some texts, and what a model has to compute.

    Attributes:
        known: Reward, or features, by content key; whoever computes a shard adds its own.
        shards: Positions of the distinct keys to compute, one cache part a shard, longest first.
        num_cached: Distinct texts found in the cache.
        num_quarantined: Damaged parts that were moved aside.
    """

    known: dict[str, Any]
    shards: list[IntArray]
    num_cached: int
    num_quarantined: int

    @property
    def num_missing(self) -> int:
        """Distinct texts that the cache lacked."""
        return sum(map(len, self.shards))

    def report(self, keys: Sequence[str]) -> ScoringReport:
        """Return the reward of each key, once all shards are known."""
        rewards = np.array([self.known[key] for key in keys], dtype=np.float64)
        return ScoringReport(rewards, self.num_missing, self.num_cached, self.num_quarantined)


def cache_folder(
    cache: Path,
    *,
    model_hash: str,
    max_tokens: int,
    precision: str,
    overlong: str = "truncate_prompt",
) -> Path:
    """Return the cache's folder for one model (its content hash) and one way of encoding."""
    key = {
        "model": model_hash,
        "max_tokens": max_tokens,
        "precision": precision,
        "overlong": overlong,
        "scheme": REFERENCE_SCHEME,
    }
    return keyed_folder(cache / "reference", key)


def score_with_cache(
    reward: LoadedModel,
    texts: TokenizedTexts,
    keys: Sequence[str],
    folder: Path,
    *,
    precision: Precision = "auto",
    score: Callable[..., FloatArray] = score_texts,
) -> ScoringReport:
    """Return the reward of each of U texts, from the cache where it has it.

    `keys` are their `text_keys`; `folder` is that of `cache_folder`, created when missing, and
    `precision` the one in its key. `score` is as of `score_texts`.

    Raises:
        RuntimeError: A reward is not finite.
    """
    plan = plan_scoring(texts, keys, folder)
    tokens = [float(texts.lengths[shard].sum()) for shard in plan.shards]
    progress = ProgressLines(f"scoring {sum(map(len, plan.shards)):,} texts", sum(tokens))
    for shard, size in zip(plan.shards, tokens, strict=True):
        part = [keys[number] for number in shard]
        rewards = score(reward, texts, shard, precision=precision)
        keep_rewards(plan, folder, part, rewards)
        progress.add(size)
    return plan.report(keys)


def plan_scoring(texts: TokenizedTexts, keys: Sequence[str], folder: Path) -> ScoringPlan:
    """Read the cache of rewards and plan the texts that it lacks; damaged parts are moved aside.

    Arguments as of `score_with_cache`.
    """
    return plan_missing(*read_cache(folder), keys, texts.lengths)


def plan_missing(
    known: dict[str, Any], num_quarantined: int, keys: Sequence[str], lengths: IntArray
) -> ScoringPlan:
    """Cut the distinct texts that a cache lacks into shards, longest first.

    `known` and `num_quarantined` are what reading the cache gave; `keys` and `lengths` (tokens)
    name U texts.
    """
    first: dict[str, int] = {}
    for number, key in enumerate(keys):
        if key not in known:
            first.setdefault(key, number)
    missing = np.asarray(list(first.values()), dtype=np.int64)
    by_length = missing[np.argsort(-lengths[missing], kind="stable")]
    return ScoringPlan(
        known,
        [by_length[at : at + PART_TEXTS] for at in range(0, len(by_length), PART_TEXTS)],
        len({key for key in keys if key in known}),
        num_quarantined,
    )


def keep_rewards(
    plan: ScoringPlan, folder: Path, keys: Sequence[str], rewards: FloatArray
) -> None:
    """Write the rewards of B texts, shape (B,), to the cache, and add them to what is known."""
    write_rewards(folder, keys, rewards)
    plan.known.update(zip(keys, rewards.tolist(), strict=True))


def write_rewards(folder: Path, keys: Sequence[str], rewards: FloatArray) -> None:
    """Write the rewards of B texts, shape (B,), to the cache as one part, whole or not at all."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"key": keys, "reward": pa.array(rewards, pa.float64())}), sink)
    write_part(folder, sink.getvalue().to_pybytes(), "parquet")


def text_keys(prompts: Sequence[Prompt], responses: Sequence[str]) -> list[str]:
    """Return a content key per (prompt, response), 32 hexadecimal digits."""
    return [
        hashlib.sha256(f"{len(prompt)}:{prompt}{response}".encode()).hexdigest()[:32]
        for prompt, response in zip(map(prompt_key, prompts), responses, strict=True)
    ]


def read_cache(folder: Path) -> tuple[dict[str, float], int]:
    """Return all rewards of a cache folder, and how many damaged parts were moved aside."""
    known: dict[str, float] = {}
    paths, num_quarantined = find_parts(folder, "parquet")
    for path in paths:
        table = pq.read_table(path)
        known.update(zip(table["key"].to_pylist(), table["reward"].to_pylist(), strict=True))
    return known, num_quarantined
