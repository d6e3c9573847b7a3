"""Rewards of an exported model as a plain function, in the form that TRL's trainers call.

    import scpo
    reward = scpo.reward_function("runs/prism/models/mexico")
    GRPOTrainer(model, reward_funcs=reward, ...)

Texts become tokens as in the training: pairs for encoders, turns through the chat template for
decoders, cut as the folder's scpo.json says.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from scpo.choices import Overlong, Precision
from scpo.countries.prefixed import prefixed_prompts
from scpo.countries.scoring import score_texts
from scpo.data.reading.conversations import Message, render_messages
from scpo.models.devices import pick_device
from scpo.models.folder.contract import ModelFacts
from scpo.models.loading import load_reward_model
from scpo.models.model_source import ModelSource
from scpo.tokens.encoding import encode_texts
from scpo.tokens.prompts import Dialogue, Prompt

Said: TypeAlias = str | Sequence[Mapping[str, Any]]


class RewardFunction(Protocol):
    """A reward function of TRL."""

    def __call__(
        self, prompts: Sequence[Said], completions: Sequence[Said], **columns: Any
    ) -> list[float]:
        """Return the reward of each completion of its prompt; other columns are not read."""


def reward_function(
    model: str | Path | ModelSource,
    *,
    max_tokens: int | None = None,
    overlong: Overlong | None = None,
    country: str | None = None,
    precision: Precision = "fp32",
) -> RewardFunction:
    """Return a function that scores completions, each a text or a list of messages.

    `max_tokens` and `overlong` are by default those of the folder's scpo.json, else 512 and
    truncate_prompt. Prompts get the prefix that scpo.json names; that of a global model may need
    `country`. The model goes to the GPU where there is one.

    Raises:
        FileNotFoundError: No such model.
        ValueError: The model cannot be scored, or needs a country; or, when called, a completion
            is not one answer.
    """
    reward = load_reward_model(model).to(pick_device())
    facts = reward.facts or ModelFacts()
    prefixed_prompts(facts, [""], country)  # refuses now, not in the middle of a training
    budget = max_tokens or facts.max_tokens or 512
    policy: Any = overlong or facts.overlong or "truncate_prompt"

    def scpo_reward(
        prompts: Sequence[Said], completions: Sequence[Said], **columns: Any
    ) -> list[float]:
        texts = encode_texts(
            reward.tokenizer,
            prefixed_prompts(facts, [_prompt(prompt) for prompt in prompts], country),
            [_answer(completion) for completion in completions],
            max_tokens=budget,
            overlong=policy,
        )
        rewards = score_texts(reward, texts, np.arange(len(texts)), precision=precision)
        return [float(value) for value in rewards]

    return scpo_reward


def _prompt(prompt: Said) -> Prompt:
    if isinstance(prompt, str):
        return prompt
    turns = [Message(str(turn["role"]), _content(turn)) for turn in prompt]
    text = render_messages(turns)
    is_one = len(turns) == 1 and turns[0][0] == "user"
    return text if is_one or not turns else Dialogue(text, tuple(turns))


def _answer(completion: Said) -> str:
    if isinstance(completion, str):
        return completion
    if len(completion) != 1 or completion[0]["role"] != "assistant":
        roles = ", ".join(str(turn.get("role")) for turn in completion) or "none"
        raise ValueError(
            f"A completion must be one message of the assistant, but has messages of {roles}. "
            "Put earlier turns into the prompt."
        )
    return _content(completion[0])


def _content(turn: Mapping[str, Any]) -> str:
    content = turn.get("content")
    if not isinstance(content, str):
        raise ValueError(
            f"The content of a message must be text, but is a {type(content).__name__}: parts and "
            "tool calls are not scored."
        )
    return content
