"""Reference rewards from all devices of a Ray cluster, into the cache that one device fills too.

The driver reads the cache and cuts what it lacks into shards. One actor a device loads the
model and takes shard after shard, longest texts first; the driver writes each to a file of its
own, so nodes need not share the cache. A dead actor is restarted and scores its shard again; a
dead driver loses only the shards in flight, at most one an actor.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import ray
import torch
from ray.exceptions import RayActorError, RayTaskError

from scpo.arrays import FeatureArray, FloatArray, IntArray
from scpo.choices import Pooling, Precision
from scpo.countries.features import KeptFeatures, score_and_pool
from scpo.countries.reference_cache import ScoringReport, keep_rewards, plan_scoring
from scpo.countries.scoring import score_texts
from scpo.distributed.ray_start import (
    CPUS_PER_WORKER,
    START_TIMEOUT_S,
    can_grow,
    describe_needs,
    start_ray,
)
from scpo.models.devices import pick_device
from scpo.models.loading import load_reward_model
from scpo.models.model_source import ModelSource, find_model
from scpo.models.reward_model import LoadedModel
from scpo.tokens.encoding import TokenizedTexts

_MAX_RESTARTS = 3  # of each actor


class RayOptions(TypedDict, total=False):
    """Keyword arguments of `score_on_ray`; each may be left out."""

    precision: Precision  # of the matrix products, the one in the folder's key; "auto"
    workers: int | None  # devices to use at most, never more than shards; None for all there are
    use_gpu: bool  # one GPU a worker; else one CPU and one thread
    trust_remote_code: bool  # whether the checkpoint may bring its own Python code
    kept: KeptFeatures | None  # where the features of the texts scored are kept too


def score_on_ray(
    model: str | Path | ModelSource,
    texts: TokenizedTexts,
    keys: Sequence[str],
    folder: Path,
    **options: Unpack[RayOptions],
) -> ScoringReport:
    """Return the reward of each text; what the cache lacks is scored on a Ray cluster.

    Starts or joins Ray if something has to be scored.

    Args:
        model: Its source, or a name as of `find_model`; a folder must be readable by every worker.
        texts: U tokenised texts.
        keys: Content key of each text (`scpo.countries.reference_cache.text_keys`), length U.
        folder: Folder of `scpo.countries.reference_cache.cache_folder`; created when missing.
        options: As of `RayOptions`.

    Raises:
        ValueError: `workers >= 1` does not hold, or the model cannot be loaded.
        FileNotFoundError: No such model.
        RuntimeError: The cluster has fewer devices than asked for, or none; an actor died too
            often; or a reward is not finite.
    """
    workers, use_gpu = options.get("workers"), options.get("use_gpu", False)
    if workers is not None and workers < 1:
        raise ValueError(f"`workers >= 1` must hold, but got {workers}.")
    plan = plan_scoring(texts, keys, folder)
    if not plan.shards:
        return plan.report(keys)
    start_ray()
    num_actors = min(_count_devices(workers, use_gpu=use_gpu), len(plan.shards))
    needs = {"GPU": 1.0} if use_gpu else {"CPU": CPUS_PER_WORKER}
    make_actor = ray.remote(Scorer).options(
        num_gpus=needs.get("GPU", 0),
        num_cpus=needs.get("CPU", 0),
        max_restarts=_MAX_RESTARTS,
        max_task_retries=_MAX_RESTARTS,
        runtime_env={
            "env_vars": {"TOKENIZERS_PARALLELISM": "false"}
            | ({} if use_gpu else {"OMP_NUM_THREADS": "1"})
        },
    )
    kept = options.get("kept")
    given = (
        find_model(model),
        ray.put(texts),
        options.get("precision", "auto"),
        use_gpu,
        options.get("trust_remote_code", False),
        None if kept is None else kept.pooling,
    )
    actors: list[Any] = [make_actor.remote(*given) for _ in range(num_actors)]

    def keep(shard: IntArray, rewards: FloatArray, features: FeatureArray | None) -> None:
        if kept is not None and features is not None:
            kept.write(texts, shard, features)
        keep_rewards(plan, folder, [keys[number] for number in shard], rewards)

    try:
        _wait_for_one(actors, needs)
        _score_shards(actors, plan.shards, keep)
    finally:
        for actor in actors:
            ray.kill(actor)
    return plan.report(keys)


@dataclass
class Scorer:
    """The model on one device, to score shards of the texts; Ray makes an actor of it."""

    model: ModelSource
    texts: TokenizedTexts  # all; Ray passes a view of its object store
    precision: Precision  # of the matrix products
    use_gpu: bool  # else one thread of a CPU
    trust_remote_code: bool
    pooling: Pooling | None = None  # of the features to return; None for none
    reward: LoadedModel | None = None  # once loaded; a restarted actor loads it again

    def load(self) -> None:
        """Load the model; not at the start, where a failure would be a dead actor."""
        if self.reward is not None:
            return
        if not self.use_gpu:
            torch.set_num_threads(1)
        device = pick_device() if self.use_gpu else torch.device("cpu")
        self.reward = load_reward_model(self.model, trust_remote_code=self.trust_remote_code).to(
            device
        )

    def score(self, shard: IntArray) -> tuple[FloatArray, FeatureArray | None]:
        """Return the rewards of a shard, shape (B,), and its features, shape (B, D)."""
        self.load()
        assert self.reward is not None
        if self.pooling is None:
            return score_texts(self.reward, self.texts, shard, precision=self.precision), None
        return score_and_pool(
            self.reward, self.texts, shard, pooling=self.pooling, precision=self.precision
        )


def _count_devices(workers: int | None, *, use_gpu: bool) -> int:
    """Return how many actors to start: as asked, or one for each device of the cluster.

    Where nodes can come, one more than none: an autoscaler sees it wait.
    """
    name = "GPU" if use_gpu else "CPU"
    have = int(ray.cluster_resources().get(name, 0.0))
    wanted = have if workers is None else workers
    if wanted > have or have == 0:
        if can_grow():
            return max(wanted, 1)
        raise RuntimeError(
            f"{max(wanted, 1)} workers need as many {name}s, but the cluster has {have}. "
            "Ask for fewer workers, or add nodes."
        )
    return wanted


def _wait_for_one(actors: Sequence[Any], needs: Mapping[str, float]) -> None:
    """Wait until one of the actors has started: Ray would wait for ever for taken devices.

    Raises:
        RuntimeError: None has in time; the message shows what is free.
    """
    started = [actor.__ray_ready__.remote() for actor in actors]
    if not ray.wait(started, timeout=START_TIMEOUT_S)[0]:
        raise RuntimeError(
            f"No scoring worker started in {START_TIMEOUT_S:g} s. It needs "
            f"{describe_needs(needs)}. End the jobs that hold the rest, or add nodes; `ray "
            "status` shows them."
        )


def _score_shards(
    actors: Sequence[Any], shards: Sequence[IntArray], keep: Callable[..., None]
) -> None:
    """Distribute the shards; `keep` takes each with what `Scorer.score` returns of it.

    An actor gets a shard only once its model is loaded, so that an actor which is pending for a
    busy device delays no shard.
    """
    remaining = list(reversed(shards))
    num_open = len(remaining)
    running: dict[Any, tuple[Any, IntArray | None]]
    running = {actor.load.remote(): (actor, None) for actor in actors}
    while num_open:
        [done], _ = ray.wait(list(running), num_returns=1)
        actor, scored = running.pop(done)
        given = _result_of(done)
        if scored is not None:
            keep(scored, *given)
            num_open -= 1
        if remaining:
            shard = remaining.pop()
            running[actor.score.remote(shard)] = (actor, shard)


def _result_of(task: Any) -> Any:
    try:
        return ray.get(task)
    except RayTaskError as error:
        raise error.cause from error
    except RayActorError as error:
        raise RuntimeError(
            f"A scoring worker died more than {_MAX_RESTARTS} times ({error}). All shards scored "
            "before are in the cache; look at the nodes' memory, and run again to score the rest."
        ) from error
