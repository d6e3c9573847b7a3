"""The training loop of a reward model: one loop for every engine.

A step encodes each response of its interactions once, forms the pairs from the rewards and
takes the mean over all pairs of the step, over all ranks and micro-batches:

    loss = (1 / B) sum_i W_i softplus(-(m_i - t_i)) + c (1 / B) sum_i (r+_i + r-_i)^2

with t the margin that the data ask for (0 without one). Ranks average gradients, so a rank scales
its part by the number of ranks; the loss does not depend on how pairs were dealt out.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scpo.arrays import IntArray
from scpo.files.pulse import pulse
from scpo.tokens.batches import TrainingSet, plan_epoch, plan_steps, shard_step
from scpo.training.checkpoints import (
    Checkpoints,
    Resumption,
    TrainingStopped,
    resume_training,
    save_checkpoint,
)
from scpo.training.engines import Engine
from scpo.training.forward_passes import (
    BatchInputs,
    Forward,
    forward_inputs,
    pick_rewards,
    plain_forward,
    plan_forwards,
)
from scpo.training.loss import centring_losses, pair_losses
from scpo.training.warm_start import prove_warm_start

_STEPS_AHEAD = 64  # that are planned at once


@dataclass(frozen=True)
class Progress:
    """One step, from 1, as reported: its mean weighted loss and its number of pairs."""

    step: int
    num_steps: int
    loss: float
    pairs: int


@dataclass
class TrainingResult:
    """What a training did; times and tokens since it was last started, on this rank.

    Attributes:
        losses: Loss of each step.
        pairs_seen: Pairs over all steps, repeats included.
        model_s: Seconds in the engine: forward, backward, optimizer, other ranks.
        real_tokens: Tokens of the texts that this rank encoded.
        warm_start: As of `prove_warm_start`; None where the head was new.
        resumed_from: Steps that a checkpoint spared.
        moved_aside: Checkpoints found damaged, with the reason.
        settings: What every rank trained with.
    """

    losses: list[float] = field(default_factory=list)
    pairs_seen: int = 0
    train_s: float = 0.0
    model_s: float = 0.0
    real_tokens: int = 0
    padded_tokens: int = 0
    warm_start: float | None = None
    resumed_from: int = 0
    moved_aside: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)


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
    pairs_per_step: int,
    seed: int,
    centring: float = 0.0,
    checkpoints: Checkpoints | None = None,
    report: Callable[[Progress], None] | None = None,
) -> TrainingResult:
    """Train the engine's model on weighted pairs, from the start or the newest checkpoint.

    Every rank calls with the same arguments. `pairs_per_step` are aimed at over all ranks; `seed`
    is that of the order of the data, `centring` the coefficient c. `report` is called after every
    step.

    Raises:
        TrainingStopped: A loss or gradient is not finite, the model is not the one that gave
            the reference rewards, or a checkpoint is of another training.
    """
    num_steps = engine.optimization.num_steps
    steps = plan_steps(data, pairs_per_step=pairs_per_step, num_steps=num_steps, seed=seed)
    start = Resumption(0, [], []) if checkpoints is None else resume_training(engine, checkpoints)
    result = TrainingResult(
        losses=start.losses, resumed_from=start.step, moved_aside=start.moved_aside
    )
    if data.reference is not None and start.step == 0:
        prove = engine.prove or prove_warm_start
        result.warm_start = prove(engine, data, inputs)
    loop = _Loop(engine, data, inputs, centring, result)
    started = time.perf_counter()
    left = steps[start.step :]
    shards = loop.plan_shards(left)
    for number, (step, planned) in enumerate(zip(left, shards, strict=True), start.step + 1):
        result.losses.append(loop.take_step(number, step, planned))
        last = number == num_steps  # kept until the model is written
        if checkpoints is not None and (last or checkpoints.is_due(number)):
            save_checkpoint(engine, checkpoints, step=number, losses=result.losses)
        pulse.beat()
        if report is not None:
            report(Progress(number, num_steps, result.losses[-1], len(step)))
    result.train_s = time.perf_counter() - started
    result.pairs_seen = sum(map(len, steps))
    return result


class _Shard(NamedTuple):
    """What one rank computes of a micro-batch.

    `passes` are the most that a rank needs: each gathers sharded weights, so all run as many.
    """

    pairs: IntArray
    forwards: list[Forward]
    passes: int


@dataclass(frozen=True)
class _Loop:
    """What a step needs; `result` counts tokens and time."""

    engine: Engine
    data: TrainingSet
    inputs: BatchInputs
    centring: float
    result: TrainingResult

    def take_step(self, number: int, step: IntArray, planned: Sequence["_Shard"]) -> float:
        engine, accumulation = self.engine, self.engine.optimization.accumulation
        own_loss = 0.0
        for micro, (mine, forwards, passes) in enumerate(planned):
            batches = self._prepare(forwards, passes)
            started = time.perf_counter()
            rewards = self._rewards(forwards, batches)
            part = self._loss(mine, len(step), rewards)
            own_loss += float(part.detach())
            last = micro == accumulation - 1
            if last:
                loss = engine.sum_over_ranks(own_loss)
                if not math.isfinite(loss):
                    self._stop(number, f"loss is {loss}", step, mine, rewards)
            engine.backward(part * engine.world_size)
            norm = engine.step(last=last)
            self.result.model_s += time.perf_counter() - started
        if norm is not None and not math.isfinite(norm):
            self._stop(number, f"norm of the gradient is {norm}", step, mine, rewards)
        return loss

    def plan_shards(self, steps: Sequence[IntArray]) -> Iterator[list["_Shard"]]:
        """Yield this rank's shard of each micro-batch, step by step; every rank must take as many.

        A rank plans no shard but its own, however many ranks there are, some steps ahead: ranks
        agree on the passes of these at once.
        """
        micros = range(self.engine.optimization.accumulation)
        for first in range(0, len(steps), _STEPS_AHEAD):
            own = [
                [self._plan(step, micro) for micro in micros]
                for step in steps[first : first + _STEPS_AHEAD]
            ]
            counts = [[len(forwards) for _, forwards in step] for step in own]
            most = np.max(self.engine.gather(counts), axis=0)
            for step, passes in zip(own, most, strict=True):
                yield [_Shard(*each, int(n)) for each, n in zip(step, passes, strict=True)]

    def _plan(self, step: IntArray, micro: int) -> tuple[IntArray, list[Forward]]:
        """Return this rank's pairs of a micro-batch and its forward passes."""
        engine, data = self.engine, self.data
        shard = shard_step(
            data,
            step,
            shard=micro * engine.world_size + engine.rank,
            num_shards=engine.world_size * engine.optimization.accumulation,
        )
        return shard, plan_forwards(data, shard, self.inputs, max_tokens=self.inputs.max_tokens)

    def _prepare(self, forwards: list[Forward], passes: int) -> list[dict[str, Tensor]]:
        """Return the tensors of forward passes, and of as many dummies as are missing."""
        self.result.real_tokens += sum(forward.real_tokens for forward in forwards)
        self.result.padded_tokens += sum(forward.padded_tokens for forward in forwards)
        texts = self.data.texts
        dummy = plain_forward(forwards[-1].texts[-1:], texts.lengths)
        return [
            forward_inputs(texts, forward, self.inputs, self.engine.device)
            for forward in forwards + [dummy] * (passes - len(forwards))
        ]

    def _rewards(self, forwards: list[Forward], batches: list[dict[str, Tensor]]) -> Tensor:
        """Return rewards at their text numbers; dummy passes add nothing but their graph."""
        rewards = [self.engine.rewards(batch) for batch in batches]
        dummies = rewards[len(forwards) :]
        own = zip(rewards, forwards, strict=False)
        values = torch.cat([pick_rewards(given, forward) for given, forward in own])
        if dummies:
            values = values + 0.0 * torch.cat([given.flatten() for given in dummies]).sum()
        # Two interactions' rows may hold one text; its gradient must count once.
        where, first = np.unique(
            np.concatenate([forward.texts for forward in forwards]), return_index=True
        )
        return values.new_zeros(len(self.data.texts)).index_put(
            (torch.from_numpy(where).to(values.device),),
            values[torch.from_numpy(first).to(values.device)],
        )

    def _loss(self, mine: IntArray, num_pairs: int, rewards: Tensor) -> Tensor:
        """Return this micro-batch's share of the step's mean loss; shares sum to the mean."""
        if len(mine) == 0:  # a rank without pairs still takes part in every collective
            return 0.0 * rewards.sum()
        data, device = self.data, rewards.device
        chosen = rewards[torch.from_numpy(data.chosen[mine]).to(device)]
        rejected = rewards[torch.from_numpy(data.rejected[mine]).to(device)]
        weights = torch.from_numpy(data.weights[mine]).to(device, torch.float32)
        target = (
            None
            if data.margins is None
            else torch.from_numpy(data.margins[mine]).to(device, torch.float32)
        )
        losses = pair_losses(chosen - rejected, weights, target)
        if self.centring:
            losses = losses + self.centring * centring_losses(chosen, rejected)
        return losses.sum() / num_pairs

    def _stop(
        self, number: int, what: str, step: IntArray, mine: IntArray, rewards: Tensor
    ) -> None:
        """Stop by name: the pairs whose rewards are not finite, or else those of the step."""
        values = rewards.detach().double().cpu().numpy()
        margins = values[self.data.chosen[mine]] - values[self.data.rejected[mine]]
        found = self.engine.gather(mine[~np.isfinite(margins)])
        bad = np.concatenate(found)
        raise TrainingStopped(
            f"{self.data.country or 'The training'}: step {number} must have a finite loss and "
            f"gradient, but its {what}. Pairs{'' if len(bad) else ' of the step'}: "
            f"{self.data.names(bad if len(bad) else step)}. Nothing was saved of this step. "
            "Lower the learning rate, or use `precision: fp32`."
        )
