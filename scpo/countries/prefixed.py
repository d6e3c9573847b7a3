"""Prompts as a model was trained with them: its scpo.json says how, no caller can forget it."""

from collections.abc import Sequence

import pyarrow as pa

from scpo.data.prefixes import prefix_of, prefix_prompts
from scpo.models.folder.contract import ModelFacts
from scpo.models.reward_model import RewardModel
from scpo.text.prompt_prefix import fill_country, fill_prompt, fill_turns
from scpo.tokens.prompts import Dialogue, Prompt


def prefixed_prompts(
    facts: ModelFacts | None, prompts: Sequence[Prompt], country: str | None = None
) -> list[Prompt]:
    """Return prompts as people ask them in the form that a model of these facts was trained with.

    Raises:
        ValueError: The model needs a country, and none is given.
    """
    template = None if facts is None else facts.prompt_prefix
    if template is None:
        return list(prompts)
    return [_fill(template, prompt, country) for prompt in prompts]


def fit_prefix(table: pa.Table, reward: RewardModel) -> pa.Table:
    """Return interactions whose prompts are as a model needs them.

    Raises:
        ValueError: Their prompts have a prefix already, and the model was trained with another or
            without one.
    """
    own, facts = prefix_of(table), reward.facts
    if own is None and facts is not None and facts.prompt_prefix is not None:
        return prefix_prompts(table, facts.prompt_prefix)
    check_prefix(reward, own)
    return table


def check_prefix(reward: RewardModel, template: str | None) -> None:
    """Refuse texts whose prompts have another prefix than those a model was trained with.

    A model that was not exported here has no such contract.

    Raises:
        ValueError: They have.
    """
    facts = reward.facts
    if facts is None:
        return
    same = {template, None if template is None else fill_country(template, facts.country or "")}
    if facts.prompt_prefix not in same:
        raise ValueError(
            f"{reward.model.name_or_path} was trained with the prompt prefix "
            f"{facts.prompt_prefix!r} (its scpo.json), but these prompts have {template!r}. "
            "Prepare the data as they were for the model (data.prompt_prefix)."
        )


def _fill(template: str, prompt: Prompt, country: str | None) -> Prompt:
    if isinstance(prompt, str):
        return fill_prompt(template, prompt, country)
    text, turns = fill_turns(template, prompt.text, list(prompt.turns), country)
    return Dialogue(text, tuple(turns))
