"""Text pairs for encoders: the prompt and the response between the tokenizer's special tokens.

A tokenizer encodes the two sides of a pair independently and puts fixed special tokens around
them. Where those stand is learned from one probe; then each distinct prompt and each response
is tokenised once and the pairs are assembled as arrays. A sample of every chunk is compared
with the tokenizer's own encoding.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from scpo.arrays import IntArray
from scpo.tokens.flat_tokens import (
    CHUNK_TEXTS,
    PROMPT,
    RESPONSE,
    SIDE_ORDER,
    SPECIAL,
    WholeTexts,
    flatten_tokens,
    offsets_of,
    range_positions,
)
from scpo.tokens.prompts import Prompt, prompt_text

CHECKED_TEXTS = 8  # of each chunk
PAIR_MARK = "{#- scpo: a text pair, for programs that render conversations -#}"
# The prompt's messages as `scpo.data.reading` renders them to one text.
_PAIR_TEMPLATE = """{%- set answered = messages[-1]['role'] == 'assistant' -%}
{%- set turns = messages[:-1] if answered else messages -%}
{{- BEFORE -}}
{%- if turns | length == 1 and turns[0]['role'] == 'user' -%}
{{- turns[0]['content'] -}}
{%- else -%}
{%- for turn in turns -%}
{{- ('' if loop.first else '\n\n') ~ (turn['role'] | capitalize) ~ ': ' ~ turn['content'] -}}
{%- endfor -%}
{%- endif -%}
{{- BETWEEN -}}
{%- if answered -%}{{- messages[-1]['content'] ~ AFTER -}}{%- endif -%}
"""


@dataclass(frozen=True)
class PairLayout:
    """How a tokenizer lays out a text pair.

    `ids` and `types` are token ids and types of the special tokens before, between and after
    the two sides; the sides' own types follow.
    """

    ids: tuple[NDArray[np.int32], ...]
    types: tuple[NDArray[np.int8], ...]
    prompt_type: int
    response_type: int

    @property
    def num_special(self) -> int:
        """Special tokens of each text."""
        return sum(map(len, self.ids))

    def encode(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        max_tokens: int,
    ) -> Iterator[WholeTexts]:
        """Yield the pairs, whole whatever `max_tokens`, a chunk at a time.

        Raises:
            ValueError: The tokenizer itself encodes a sampled pair in another way.
        """
        texts = [prompt_text(prompt) for prompt in prompts]
        numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        known = _tokenize(tokenizer, list(numbers))
        for start in range(0, len(texts), CHUNK_TEXTS):
            ours = texts[start : start + CHUNK_TEXTS]
            replies = responses[start : start + CHUNK_TEXTS]
            which = np.array([numbers[text] for text in ours], dtype=np.int64)
            whole = self._assemble(known, which, _tokenize(tokenizer, replies))
            _compare_sample(tokenizer, ours, replies, whole)
            yield whole

    def _assemble(
        self,
        prompts: tuple[NDArray[np.int32], IntArray],
        which: IntArray,
        responses: tuple[NDArray[np.int32], IntArray],
    ) -> WholeTexts:
        """Return pairs of prompt `which[i]` and response i: ranges of one pool of tokens."""
        pool = np.concatenate([*self.ids, prompts[0], responses[0]])
        starts_in_pool = offsets_of(
            np.array([*map(len, self.ids), len(prompts[0]), len(responses[0])])
        )
        starts = np.empty((len(which), len(SIDE_ORDER)), dtype=np.int64)
        lengths = np.empty_like(starts)
        starts[:, ::2], lengths[:, ::2] = starts_in_pool[:3], [len(part) for part in self.ids]
        starts[:, 1] = starts_in_pool[3] + prompts[1][which]
        lengths[:, 1] = np.diff(prompts[1])[which]
        starts[:, 3] = starts_in_pool[4] + responses[1][:-1]
        lengths[:, 3] = np.diff(responses[1])
        pool_types = np.concatenate(
            [
                *self.types,
                np.full(len(prompts[0]), self.prompt_type, dtype=np.int8),
                np.full(len(responses[0]), self.response_type, dtype=np.int8),
            ]
        )
        positions = range_positions(starts.ravel(), lengths.ravel())
        whole = lengths.sum(axis=1)
        return WholeTexts(
            pool[positions],
            pool_types[positions],
            np.repeat(np.tile(SIDE_ORDER, len(which)), lengths.ravel()),
            offsets_of(whole),
            whole,
        )


def reads_pairs(template: str | None) -> bool:
    """Tell whether texts are pairs: there is no chat template, or it is of `pair_template`."""
    return not template or PAIR_MARK in template


def pair_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return a chat template that renders a conversation as the tokenizer's text pair.

    Token types are lost. None where the tokenizer reads the rendered text otherwise.
    """
    layout = learn_pair_layout(tokenizer)
    template = PAIR_MARK + _PAIR_TEMPLATE
    for name, ids in zip(("BEFORE", "BETWEEN", "AFTER"), layout.ids, strict=True):
        tokens = "".join(tokenizer.convert_ids_to_tokens(ids.tolist()))
        template = template.replace(name, json.dumps(tokens, ensure_ascii=False))
    for prompt, response in (("a", "b"), ("Who is it? ", "Me, I'm here."), ("1\n2", " ü b\n")):
        messages = [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": response},
        ]
        said: Any = tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=True, return_dict=True
        )
        if list(said["input_ids"]) != list(tokenizer(prompt, response)["input_ids"]):
            return None
    return template


def learn_pair_layout(tokenizer: PreTrainedTokenizerBase) -> PairLayout:
    """Learn a tokenizer's pair layout from one probe.

    Raises:
        ValueError: The two sides are not apart with the prompt first, or BOS stands twice.
    """
    probe = tokenizer("a", "b").encodings[0]
    ids = np.asarray(probe.ids, dtype=np.int32)
    types = np.asarray(probe.type_ids, dtype=np.int8)
    sides = np.array([SPECIAL if side is None else side for side in probe.sequence_ids])
    name = type(tokenizer).__name__
    if np.sum(ids[sides == SPECIAL] == tokenizer.bos_token_id) > 1:
        raise ValueError(
            f"{name} begins both texts of a pair with {tokenizer.bos_token}: it belongs to a "
            "decoder, which needs a chat template. Set `chat_template` in its tokenizer."
        )
    prompt, response = np.flatnonzero(sides == PROMPT), np.flatnonzero(sides == RESPONSE)
    edges = [(side[0], side[-1] + 1) for side in (prompt, response) if len(side)]
    if len(edges) < 2 or edges[0][1] > edges[1][0]:
        raise ValueError(
            f"{name} must put the prompt's tokens before the response's, but the sides of its "
            f"pair ('a', 'b') are {sides.tolist()}. Give it a chat template."
        )
    (first, stop), (reply, end) = edges
    parts = [slice(None, first), slice(stop, reply), slice(end, None)]
    return PairLayout(
        tuple(ids[part] for part in parts),
        tuple(types[part] for part in parts),
        int(types[first]),
        int(types[reply]),
    )


def _tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> tuple[NDArray[np.int32], IntArray]:
    """Return the tokens of single texts without special tokens, and their offsets."""
    parts, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for start in range(0, len(texts), CHUNK_TEXTS):
        encoded = tokenizer(
            list(texts[start : start + CHUNK_TEXTS]),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        ids, offsets = flatten_tokens(encoded["input_ids"])
        parts.append(ids)
        lengths.append(np.diff(offsets))
    return np.concatenate(parts), offsets_of(np.concatenate(lengths))


def _compare_sample(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    responses: Sequence[str],
    whole: WholeTexts,
) -> None:
    sample = np.unique(np.linspace(0, len(prompts) - 1, CHECKED_TEXTS).astype(int)).tolist()
    own = tokenizer(
        [prompts[number] for number in sample],
        [responses[number] for number in sample],
        verbose=False,
    )
    for number, encoding in zip(sample, own.encodings, strict=True):
        text = slice(whole.offsets[number], whole.offsets[number + 1])
        if (
            whole.ids[text].tolist() != encoding.ids
            or whole.types[text].tolist() != encoding.type_ids
        ):
            raise ValueError(
                f"{type(tokenizer).__name__} must encode a pair as its two texts between fixed "
                f"special tokens, but does not for ({prompts[number][:40]!r}, "
                f"{responses[number][:40]!r}). Give it a chat template."
            )
