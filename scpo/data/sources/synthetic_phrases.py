"""The words of the synthetic cultures: questions, advice, and phrases of attribute levels.

They stand in synthetic_phrases.yaml. An attribute level is shown by one of several phrasings, so
that a small language model can learn it from a few hundred pairs but not from a single word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import yaml


@dataclass(frozen=True)
class AttributeLevel:
    """One level of an attribute; one without phrases is shown by silence.

    The value is its position on the attribute's axis, in -1..1; utilities are linear in it.
    """

    name: str
    value: float
    phrases: tuple[str, ...] = ()


@cache
def load_attributes() -> dict[str, tuple[AttributeLevel, ...]]:
    """Return the levels of each attribute, in the order in which they stand in a response."""
    return {
        name: tuple(
            AttributeLevel(level["name"], level["value"], tuple(level.get("phrases", ())))
            for level in levels
        )
        for name, levels in _load_words()["attributes"].items()
    }


@cache
def load_questions() -> dict[str, tuple[str, ...]]:
    """Return the pieces of advice that answer each question."""
    return {question: tuple(advice) for question, advice in _load_words()["questions"].items()}


def render_response(advice: str, levels: Mapping[str, int], generator: np.random.Generator) -> str:
    """Return a response that gives advice ("take a walk") and shows a level of each attribute.

    `levels` are positions in `load_attributes()[name]`, by attribute name; the generator chooses
    among the phrasings.
    """
    sentences = []
    for name, choices in load_attributes().items():
        phrases = choices[levels[name]].phrases
        if phrases:
            sentences.append(phrases[generator.integers(len(phrases))].format(advice=advice))
    return " ".join(sentences)


@cache
def _load_words() -> dict[str, dict[str, Any]]:
    file = files("scpo.data.sources") / "synthetic_phrases.yaml"
    words: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text("utf-8"))
    return words
