"""The training loop of a reward model: one loop for every engine.

A step encodes each response of its interactions once, forms the pairs from the rewards and
takes the mean over all pairs of the step, over all ranks:

    loss = (1 / B) sum_i W_i softplus(-m_i) + c (1 / B) sum_i (r+_i + r-_i)^2

Ranks average gradients, so a rank scales its part by the number of ranks; the loss does not
depend on how pairs were dealt out. A loss that is not finite stops the run by name.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scpo.batches import (
    TrainingSet,
    cut_forwards,
    plan_epoch,
    plan_steps,
    shard_step,
    texts_of_step,
)
from scpo.encoding import pad_texts
from scpo.engines import Engine
from scpo.loss import centring_losses, pair_losses
from scpo.pairs import IntArray

TRAINING_TOKENS = 4096


@dataclass(frozen=True)
class Progress:
    """One step, as reported.

    Attributes:
        step: Steps done, from 1.
        num_steps: Steps in all.
        loss: Mean weighted loss over the pairs of this step.
        pairs: Pairs of this step.
    """

    step: int
    num_steps: int
    loss: float
    pairs: int


@dataclass(frozen=True)
class TrainingResult:
    """What a training did.

    Attributes:
        losses: Loss of each step.
        pairs_seen: Pairs over all steps, repeats included.
        train_s: Seconds in the loop.
        real_tokens: Tokens of the texts that this rank encoded.
        padded_tokens: The same with padding.
    """

    losses: list[float]
    pairs_seen: int
    train_s: float
    real_tokens: int
    padded_tokens: int


@dataclass(frozen=True)
class BatchInputs:
    """What turns text numbers into model inputs.

    Attributes:
        pad_id: Token id of the padding.
        with_types: Whether the model takes `token_type_ids`.
    """

    pad_id: int
    with_types: bool


def count_steps(data: TrainingSet, *, epochs: float, pairs_per_step: int, seed: int) -> int:
    """Return the optimizer steps of `epochs` passes (a fraction is allowed), at least 1.

    The seed is that of `plan_steps`: a pass takes a few steps more or fewer by its order, and
    whole passes are to visit every pair.

    Raises:
        ValueError: `0 < epochs < inf` does not hold.
    """
    if not (epochs > 0 and math.isfinite(epochs)):
        raise ValueError(f"`0 < epochs < inf` must hold, but got {epochs}.")
    rng = np.random.default_rng(seed)
    passes = [
        len(plan_epoch(data, pairs_per_step=pairs_per_step, rng=rng))
        for _ in range(math.ceil(epochs))
    ]
    unfinished = (math.ceil(epochs) - epochs) * passes[-1]
    return max(1, sum(passes) - round(unfinished))


def train_reward_model(
    engine: Engine,
    data: TrainingSet,
    inputs: BatchInputs,
    *,
    num_steps: int,
    pairs_per_step: int,
    seed: int,
    centring: float = 0.0,
    max_tokens: int = TRAINING_TOKENS,
    report: Callable[[Progress], None] | None = None,
) -> TrainingResult:
    """Train the engine's model on weighted pairs.

    Args:
        engine: Holds model, optimizer and schedule; every rank calls with the same arguments.
        data: The pairs, the same on every rank.
        inputs: How texts become model inputs.
        num_steps: Optimizer steps.
        pairs_per_step: Pairs aimed at per step, over all ranks.
        seed: Seed of the order of the data.
        centring: Coefficient c of the centring term, 0 for none.
        max_tokens: Padded tokens of one forward pass.
        report: Called after every step.

    Raises:
        RuntimeError: The loss of a step is not finite.
    """
    steps = plan_steps(data, pairs_per_step=pairs_per_step, num_steps=num_steps, seed=seed)
    losses: list[float] = []
    tokens = np.zeros(2, dtype=np.int64)
    started = time.perf_counter()
    for number, step in enumerate(steps, 1):
        rewards, step_tokens = _step_rewards(engine, data, inputs, step, max_tokens)
        tokens += step_tokens
        part = _rank_loss(engine, data, step, rewards, centring)
        loss = engine.sum_over_ranks(float(part.detach()))
        if not math.isfinite(loss):
            raise RuntimeError(
                f"The loss of step {number} is {loss}, so training stopped there. Its pairs: "
                f"{step[:8].tolist()}. Lower the learning rate, or use `precision: fp32`."
            )
        engine.backward(part * engine.world_size)
        engine.step()
        losses.append(loss)
        if report is not None:
            report(Progress(number, num_steps, loss, len(step)))
    seconds = time.perf_counter() - started
    return TrainingResult(losses, sum(map(len, steps)), seconds, int(tokens[0]), int(tokens[1]))


def _step_rewards(
    engine: Engine, data: TrainingSet, inputs: BatchInputs, step: IntArray, max_tokens: int
) -> tuple[Tensor, IntArray]:
    """Return the rewards of this rank's texts at their text numbers, and tokens used."""
    lengths = data.texts.lengths
    forwards = []
    for rank in range(engine.world_size):  # sharded weights: every rank must run as many
        mine = shard_step(data, step, rank=rank, world_size=engine.world_size)
        forwards.append(cut_forwards(texts_of_step(data, mine), lengths, max_tokens=max_tokens))
    own = forwards[engine.rank]
    dummies = max(map(len, forwards)) - len(own)
    rewards = []
    for which in own + [own[-1][-1:]] * dummies:
        batch = pad_texts(
            data.texts,
            which,
            pad_id=inputs.pad_id,
            with_types=inputs.with_types,
            device=engine.device,
        )
        rewards.append(engine.rewards(batch))
    count = sum(map(len, own))
    flat = torch.cat(rewards)
    values = flat[:count] + 0.0 * flat[count:].sum()
    scattered = values.new_zeros(len(data.texts)).index_put(
        (torch.from_numpy(np.concatenate(own)).to(engine.device),), values
    )
    real = int(sum(lengths[which].sum() for which in own))
    padded = int(sum(lengths[which[0]] * len(which) for which in own))
    return scattered, np.array([real, padded])


def _rank_loss(
    engine: Engine, data: TrainingSet, step: IntArray, rewards: Tensor, centring: float
) -> Tensor:
    """Return this rank's share of the step's mean loss; ranks sum to the mean."""
    mine = shard_step(data, step, rank=engine.rank, world_size=engine.world_size)
    if len(mine) == 0:  # a rank without pairs still takes part in every collective
        return 0.0 * rewards.sum()
    chosen = rewards[torch.from_numpy(data.chosen[mine]).to(engine.device)]
    rejected = rewards[torch.from_numpy(data.rejected[mine]).to(engine.device)]
    weights = torch.from_numpy(data.weights[mine]).to(engine.device, torch.float32)
    losses = pair_losses(chosen - rejected, weights)
    if centring:
        losses = losses + centring * centring_losses(chosen, rejected)
    return losses.sum() / len(step)
