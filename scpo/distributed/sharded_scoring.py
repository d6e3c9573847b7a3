"""Rewards through an engine of many ranks: each scores a share of the texts.

Reference rewards of a model that no single device holds come from a Ray Train run whose workers
hold a shard of each weight (ZeRO stage 3, without an optimizer).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Required, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scpo.arrays import FeatureArray, FloatArray, IntArray
from scpo.choices import Pooling, Precision, ResolvedPrecision
from scpo.countries.features import finite_features
from scpo.countries.pooling import head_parameters, reading_vectors
from scpo.countries.reference_cache import ScoringReport, keep_rewards, plan_scoring
from scpo.distributed.ray_training import load_everywhere, start_deepspeed
from scpo.distributed.worker_group import WorkerGroup, run_on_workers
from scpo.files.places import Place
from scpo.models.classifier import compute_rewards
from scpo.models.devices import autocast, forward_tokens, resolve_precision
from scpo.models.model_source import ModelSource, find_model
from scpo.models.reward_model import fresh_model
from scpo.tokens.batches import cut_forwards
from scpo.tokens.encoding import TokenizedTexts
from scpo.training.checkpoints import TrainingStopped
from scpo.training.engines import ScoringEngine, gather_from_ranks
from scpo.training.forward_passes import BatchInputs, Forward, model_inputs, plain_forward
from scpo.training.warm_start import rewards_through

_SCORE_WORKER = f"{__name__}:_score_worker"


class ShardOptions(TypedDict, total=False):
    """Keyword arguments of the functions that score by shards; the first two must be given."""

    group: Required[WorkerGroup]  # which workers
    storage: Required[Place]  # where Ray's own files go
    precision: Precision  # of the matrix products
    trust_remote_code: bool  # whether the checkpoint may bring its own Python code


def score_sharded(
    model: str | Path | ModelSource,
    texts: TokenizedTexts,
    keys: Sequence[str],
    folder: Path,
    **options: Unpack[ShardOptions],
) -> ScoringReport:
    """Return the reward of each text; what the cache lacks is scored by one worker group.

    Starts or joins Ray if something has to be scored. Arguments as of
    `scpo.distributed.ray_scoring.score_on_ray` and `ShardOptions`.

    Raises:
        RuntimeError: The cluster cannot hold the workers, they died too often, the model cannot
            be loaded, or a reward is not finite.
    """
    plan = plan_scoring(texts, keys, folder)
    if not plan.shards:
        return plan.report(keys)
    missing = np.concatenate(plan.shards)
    rewards = score_texts_sharded(model, texts.take(missing), **options)
    keep_rewards(plan, folder, [keys[number] for number in missing], rewards)
    return plan.report(keys)


def score_texts_sharded(
    model: str | Path | ModelSource, texts: TokenizedTexts, **options: Unpack[ShardOptions]
) -> FloatArray:
    """Return the reward of each of U texts, shape (U,), from one worker group.

    Arguments and errors as of `score_sharded`.
    """
    rewards = _on_shards(rewards_of_all, model, texts, **options)
    if not np.all(np.isfinite(rewards)):
        raise RuntimeError(
            "Rewards must be finite, but some are NaN or infinite. Try `precision: fp32`, or "
            "check the model's weights."
        )
    return rewards


def features_sharded(
    model: str | Path | ModelSource,
    texts: TokenizedTexts,
    which: IntArray,
    *,
    pooling: Pooling,
    **options: Unpack[ShardOptions],
) -> FeatureArray:
    """Return the pooled vector of each named text, shape (B, D), from one worker group.

    Arguments as of `score_sharded`; `which`, shape (B,), names the texts.

    Raises:
        RuntimeError: As of `score_sharded`, or the model cannot be pooled so.
    """
    task = partial(features_of_all, pooling=pooling)
    return finite_features(_on_shards(task, model, texts.take(which), **options))


class ShardedScorer:
    """A model whose weights all ranks share, for scoring only; every rank makes one.

    Args:
        reward: The model, as `fresh_model` leaves it mapped.
        device: The device of this rank.
        precision: Of the matrix products.
    """

    def __init__(self, reward: Any, device: torch.device, precision: ResolvedPrecision) -> None:
        import deepspeed  # not before a worker has DS_ACCELERATOR

        from scpo.distributed.deepspeed_engine import deepspeed_config
        from scpo.distributed.shard_weights import shard_weights

        config = deepspeed_config(3, 1.0)
        shard_weights(reward.model, device, config)
        self.engine, *_ = deepspeed.initialize(model=reward.model, config=config)
        self.engine.eval()
        self.reward = replace(reward, model=self.engine.module)
        self.rank = int(torch.distributed.get_rank())
        self.world_size = int(torch.distributed.get_world_size())
        self.device = device
        self.precision = precision

    def rewards(
        self, batch: Mapping[str, Tensor], *, precision: ResolvedPrecision | None = None
    ) -> Tensor:
        """Return the rewards of B texts, shape (B,), float32."""
        with autocast(self.device, precision or self.precision):
            return compute_rewards(self.engine, batch)

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's value, in the order of ranks."""
        return gather_from_ranks(value)


def rewards_of_all(
    engine: ScoringEngine, texts: TokenizedTexts, inputs: BatchInputs
) -> FloatArray:
    """Return the reward of each of U texts, shape (U,), on every rank; all must call."""
    shares = share_forwards(texts.lengths, engine.world_size, engine.device)
    mine = rewards_through(engine, texts, inputs, shares[engine.rank])
    return _join(shares, engine.gather(mine))


def features_of_all(
    scorer: ShardedScorer, texts: TokenizedTexts, inputs: BatchInputs, *, pooling: Pooling
) -> FeatureArray:
    """Return the features of each of U texts, shape (U, D), on every rank; all must call."""
    from deepspeed.runtime.zero import GatheredParameters

    shares = share_forwards(texts.lengths, scorer.world_size, scorer.device)
    with reading_vectors(scorer.reward, pooling) as read:
        rewards = rewards_through(scorer, texts, inputs, shares[scorer.rank])
        gathered = GatheredParameters(head_parameters(scorer.reward, pooling))
        with gathered, torch.no_grad():
            features = read(torch.as_tensor(rewards, device=scorer.device))
    return _join(shares, scorer.gather(features.cpu().numpy()))


def _join(shares: Sequence[Sequence[Forward]], given: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return what the ranks computed of their shares, in the order of the texts."""
    which = [forward.texts for forwards in shares for forward in forwards]
    _, first = np.unique(np.concatenate(which), return_index=True)
    return np.concatenate(given)[first]


def share_forwards(lengths: IntArray, num_ranks: int, device: torch.device) -> list[list[Forward]]:
    """Return the forward passes of each rank over all texts: equally many, of like lengths.

    A rank that has fewer repeats its last text; a rank without texts takes text 0.
    """
    longest_first = np.argsort(-lengths, kind="stable")
    smallest, largest = forward_tokens(device)
    shares = []
    for rank in range(num_ranks):
        texts = longest_first[rank::num_ranks]
        if len(texts) == 0:
            texts = np.zeros(1, dtype=np.int64)
        cut = cut_forwards(texts, lengths, max_tokens=largest, min_tokens=smallest)
        shares.append([plain_forward(part, lengths) for part in cut])
    most = max(map(len, shares))
    for share in shares:  # sharded weights: every rank must run as many
        share += [plain_forward(share[-1].texts[-1:], lengths)] * (most - len(share))
    return shares


def _on_shards(
    task: Callable[..., NDArray[Any]],
    model: str | Path | ModelSource,
    texts: TokenizedTexts,
    **options: Unpack[ShardOptions],
) -> NDArray[Any]:
    """Return what `task` makes of a scorer, the texts and their inputs on every worker."""
    settings = {
        "task": task,
        "model": find_model(model),
        "texts": texts,
        "group": options["group"],
        "precision": options.get("precision", "auto"),
        "trust_remote_code": options.get("trust_remote_code", False),
    }
    group, storage = options["group"], options["storage"]
    outcome = run_on_workers(_SCORE_WORKER, settings, group, task="Scoring", storage=storage)
    if isinstance(outcome, str):
        raise RuntimeError(outcome)
    return np.asarray(outcome)


def _score_worker(settings: dict[str, Any]) -> NDArray[Any] | str:
    """Return the task's array of all texts, or why there is none."""
    group = settings["group"]
    start_deepspeed(group.backend)
    try:
        base = load_everywhere(settings["model"], trust_remote_code=settings["trust_remote_code"])
    except TrainingStopped as error:
        return str(error)
    device = group.device()
    precision = resolve_precision(settings["precision"], device)
    scorer = ShardedScorer(fresh_model(base, device, stays_mapped=True), device, precision)
    made: NDArray[Any] = settings["task"](scorer, settings["texts"], model_inputs(base))
    return made
