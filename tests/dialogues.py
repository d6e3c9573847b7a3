"""Sixteen conversations, several turns and system prompts among them, and a model exported."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scpo.countries.scoring import score_texts
from scpo.data.reading.conversations import Message, render_messages
from scpo.models.export.model_folder import export_reward_model
from scpo.models.folder.contract import ModelFacts
from scpo.models.loading import load_reward_model
from scpo.models.lora import add_lora
from scpo.tokens.encoding import encode_texts

Turns = list[dict[str, Any]]

FACTS = ModelFacts(
    max_tokens=60,
    overlong="truncate_left",
    country="Mexico",
    arm="scpo",
    tau=0.7,
    beta=1.1,
    tested_before=2,
    global_model="ab" * 32,
)
SAID = ["a b c", "d", "e f g h a b c d e", "a", "b b", "c d e", "f", "g h"]
ANSWERS = ["good", "bad bad fine", "h", "long warm cold a b", "fine", "a", "b c", "good"]
PLAIN: list[Turns] = [[{"role": "user", "content": text}] for text in SAID]
TURNS: list[Turns] = [
    [
        *([{"role": "system", "content": "short"}] if number % 2 else []),
        {"role": "user", "content": text},
        {"role": "assistant", "content": "fine"},
        {"role": "user", "content": "c d"},
    ]
    for number, text in enumerate(SAID)
]
PROMPTS = PLAIN + TURNS
COMPLETIONS: list[Turns] = [[{"role": "assistant", "content": text}] for text in ANSWERS * 2]
CONVERSATIONS = [prompt + answer for prompt, answer in zip(PROMPTS, COMPLETIONS, strict=True)]


def export_model(folder: Path, out: Path, *, lora: bool = False) -> Path:
    """Export the model of a folder as a country's, as an adapter with `lora`."""
    reward = load_reward_model(str(folder))
    reward = add_lora(reward, rank=2, alpha=4.0) if lora else reward
    texts = encode_texts(reward.tokenizer, SAID, ANSWERS, max_tokens=60)
    rewards = score_texts(reward, texts, np.arange(len(texts)), precision="fp32")
    return export_reward_model(
        reward, out, texts=texts, expected=rewards, facts=FACTS, merge=not lora
    )


def as_pair(conversation: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Return a conversation as encoders read it: the prompt's text and the answer."""
    prompt = render_messages([Message(**turn) for turn in conversation[:-1]])
    return prompt, str(conversation[-1]["content"])
