"""One training on one device: model and weighted pairs in, the same model trained out.

This is what `scpo train` runs in its own process and what a lane of a sweep runs in its actor;
it needs no Ray. `scpo.ray_training` does the same on several devices.
"""

from collections.abc import Callable
from typing import TypeVar

import torch

from scpo.batches import TrainingSet
from scpo.config import TrainingConfig
from scpo.devices import resolve_precision
from scpo.engines import Engine, TorchEngine
from scpo.model import RewardModel, takes_token_types
from scpo.training import (
    BatchInputs,
    Progress,
    TrainingResult,
    count_steps,
    train_reward_model,
)

EngineType = TypeVar("EngineType", bound=Engine)


def fit_on_device(
    reward: RewardModel,
    data: TrainingSet,
    config: TrainingConfig,
    *,
    report: Callable[[Progress], None] | None = None,
) -> TrainingResult:
    """Train `reward` in place, on the device it is on.

    Args:
        reward: Model to go on from.
        data: Weighted pairs.
        config: Learning rate, epochs and the rest.
        report: Called after every step.

    Raises:
        RuntimeError: The loss of a step is not finite.
    """
    _, result = fit_with(TorchEngine, reward, data, config, report=report)
    return result


def fit_with(
    make_engine: Callable[..., EngineType],
    reward: RewardModel,
    data: TrainingSet,
    config: TrainingConfig,
    *,
    report: Callable[[Progress], None] | None = None,
) -> tuple[EngineType, TrainingResult]:
    """Train through an engine made for the purpose, and return it with the result.

    Args:
        make_engine: An engine's class, or a partial of it.
        reward: Model to go on from, on its device.
        data: Weighted pairs.
        config: Learning rate, epochs and the rest.
        report: Called after every step.

    Raises:
        RuntimeError: The loss of a step is not finite.
    """
    torch.manual_seed(config.seed)
    num_steps = count_steps(
        data,
        epochs=config.epochs,
        pairs_per_step=config.pairs_per_step,
        seed=config.seed,
    )
    engine = make_engine(
        reward,
        learning_rate=config.learning_rate,
        num_steps=num_steps,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        precision=resolve_precision(config.precision, reward.model.device),
    )
    result = train_reward_model(
        engine,
        data,
        batch_inputs(reward),
        num_steps=num_steps,
        pairs_per_step=config.pairs_per_step,
        seed=config.seed,
        centring=config.centring,
        max_tokens=config.max_tokens_per_forward,
        report=report,
    )
    return engine, result


def batch_inputs(reward: RewardModel) -> BatchInputs:
    """Return how texts become inputs of this model."""
    return BatchInputs(reward.tokenizer.pad_token_id, takes_token_types(reward))
