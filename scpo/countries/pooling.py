"""One vector a text, read while a model scores: what its reward head reads, or a mean of states.

`head`: the vector that the last linear layer maps to the reward, so that the reward is linear in
it. `mean`: the mean of the backbone's last hidden states over the tokens that are not padding.
The reward is not linear in that one, but heads beside the global model learn more from it
(sentence encoders are trained so): r = r_global + w . phi.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from scpo.choices import Pooling
from scpo.models.classifier import is_backbone, plain_model, reading_states
from scpo.models.reward_model import LoadedModel

# Takes the rewards (B,) of the passes since the last call; returns their texts' vectors (B, D).
ReadVectors: TypeAlias = Callable[[Tensor], Tensor]

_TOLERANCE = 1e-3  # of a reward, as a share of the largest, against the head on its features


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
            f"backbone, but has {len(heads)}. Only such a head can be trained on features of "
            "pooling `head`; use `features.pooling: mean`."
        )
    return heads[0]


def head_parameters(reward: LoadedModel, pooling: Pooling) -> list[nn.Parameter]:
    """Return the weights that reading vectors needs whole: those of the head, or none."""
    return list(reward_head(reward).parameters()) if pooling == "head" else []


@contextmanager
def reading_vectors(reward: LoadedModel, pooling: Pooling) -> Iterator[ReadVectors]:
    """Yield a function that returns the vectors of all texts scored since its last call.

    Raises:
        ValueError: Of `head`: the model has no linear head, or, by the function, it is not the
            head on one vector a text that makes the reward. Of `mean`: the model does not give
            one hidden state a token.
    """
    seen: list[Tensor] = []
    with ExitStack() as until:
        if pooling == "head":
            head = reward_head(reward)
            hook = head.register_forward_pre_hook(lambda _, given: seen.append(given[0].float()))
        else:
            model = plain_model(reward.model)
            read_states = until.enter_context(reading_states(model))
            hook = model.base_model.register_forward_hook(
                lambda _, given, named, out: seen.append(_mean_state(named, read_states(out))),
                with_kwargs=True,
            )
        until.callback(hook.remove)

        def read(rewards: Tensor) -> Tensor:
            parts = list(seen)
            seen.clear()
            if pooling == "head":
                return _linear_features(head, parts, rewards)
            return torch.cat(parts)

        yield read


def _mean_state(named: dict[str, Any], states: Tensor | None) -> Tensor:
    """Return the mean of the states over the attention mask, shape (B, D), in float32."""
    mask = named.get("attention_mask")
    if states is None or mask is None or states.shape[:2] != mask.shape:
        raise ValueError(
            "Mean pooling needs a backbone that gives one hidden state for each token of its "
            "attention mask, but this one does not. Use `features.pooling: head`."
        )
    held = mask.float()[:, :, None]
    mean: Tensor = (states.float() * held).sum(1) / held.sum(1)
    return mean


def _linear_features(head: nn.Linear, seen: list[Tensor], rewards: Tensor) -> Tensor:
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
            f"texts gave {len(features)} vectors or other rewards. Use `features.pooling: mean`."
        )
    return features
