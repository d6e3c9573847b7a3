"""Conversations for decoders, through the tokenizer's own chat template.

A conversation is [user: prompt, assistant: response]. Probes with different contents show how
many tokens at the start, between the two contents and at the end belong to the template: those
are never cut. A template that stamps a date is given a fixed one, or tokens would change from
day to day; a conversation begins with exactly one BOS where the tokenizer uses one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from scpo.arrays import IntArray
from scpo.tokens.flat_tokens import CHUNK_TEXTS, SIDE_ORDER, WholeTexts, flatten_tokens

TEMPLATE_DATE = datetime(2024, 7, 26)  # the date that Llama's templates fall back on
DATE_CODES = ("%a", "%A", "%b", "%B", "%d", "%j", "%m", "%y", "%Y", "%H", "%M", "%S")
PROBES = ("a", "b", "1", "?")


@dataclass(frozen=True)
class ChatLayout:
    """Tokens that belong to a tokenizer's chat template.

    Attributes:
        bos: Token id to put in front, because the template gives none; None for none.
        num_start: Template tokens before the prompt, BOS included.
        num_between: Template tokens between prompt and response.
        num_end: Template tokens after the response.
        num_probe_reply: Tokens of the first probe as a response, with the template's end.
    """

    bos: int | None
    num_start: int
    num_between: int
    num_end: int
    num_probe_reply: int

    @property
    def num_special(self) -> int:
        """Template tokens of each text."""
        return self.num_start + self.num_between + self.num_end

    def encode(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[str],
        responses: Sequence[str],
    ) -> Iterator[WholeTexts]:
        """Yield the conversations, whole, a chunk at a time.

        The response begins where it begins when the prompt is answered with the first probe.
        """
        heads: dict[str, int] = {}
        for start in range(0, len(prompts), CHUNK_TEXTS):
            ours = prompts[start : start + CHUNK_TEXTS]
            new = [prompt for prompt in dict.fromkeys(ours) if prompt not in heads]
            if new:
                _, offsets = _chat_tokens(tokenizer, new, [PROBES[0]] * len(new), self.bos)
                heads.update(
                    zip(new, (np.diff(offsets) - self.num_probe_reply).tolist(), strict=True)
                )
            replies = responses[start : start + CHUNK_TEXTS]
            ids, offsets = _chat_tokens(tokenizer, ours, replies, self.bos)
            segments = self._segments(np.diff(offsets), np.array([heads[text] for text in ours]))
            sides = np.repeat(np.tile(SIDE_ORDER, len(ours)), segments.ravel())
            yield WholeTexts(ids, np.zeros(len(ids), dtype=np.int8), sides, offsets)

    def _segments(self, lengths: IntArray, heads: IntArray) -> IntArray:
        """Return the tokens of each text's five segments, shape (U, 5).

        Where a content and the template share a token, a text has fewer than the template's
        own; every count is held inside the text.
        """
        start = np.minimum(self.num_start, lengths)
        end = np.minimum(self.num_end, lengths - start)
        head = np.clip(heads, start, lengths - end)
        between = np.minimum(self.num_between, head - start)
        return np.stack(
            [start, head - start - between, between, lengths - end - head, end], axis=1
        )


def learn_chat_layout(tokenizer: PreTrainedTokenizerBase) -> ChatLayout:
    """Learn from probes what the chat template adds to a prompt and a response.

    Raises:
        ValueError: The template begins with more than one BOS, or does not show the prompt and
            then the response.
    """
    bos = _missing_bos(tokenizer)
    fixed = [PROBES[0]] * len(PROBES)
    by_prompt = _split(*_chat_tokens(tokenizer, PROBES, fixed, bos))
    by_response = _split(*_chat_tokens(tokenizer, fixed, PROBES, bos))
    length = len(by_prompt[0])
    num_start, num_end = _num_shared(by_prompt), _num_shared(by_response, from_end=True)
    num_head, num_after = _num_shared(by_response), _num_shared(by_prompt, from_end=True)
    num_between = num_head - (length - num_after)
    if max(num_start, num_head) >= length or num_between < 0:
        raise ValueError(
            f"The chat template of {type(tokenizer).__name__} must show the user's text and then "
            "the assistant's, but other texts change nothing or in another order. Mend the "
            "template."
        )
    return ChatLayout(bos, num_start, num_between, num_end, length - num_head)


def _missing_bos(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return BOS where the tokenizer begins plain text with it and the template does not."""
    bos: int | None = tokenizer.bos_token_id
    if bos is None:
        return None
    ids, _ = _chat_tokens(tokenizer, PROBES[:1], PROBES[:1], None)
    first = ids[:2].tolist()
    if first == [bos, bos]:
        raise ValueError(
            f"A conversation must begin with one {tokenizer.bos_token}, but the chat template of "
            f"{type(tokenizer).__name__} begins with two or more. Remove it from the template."
        )
    begins_text = tokenizer(PROBES[0])["input_ids"][:1] == [bos]
    return bos if begins_text and first[:1] != [bos] else None


def _chat_tokens(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    responses: Sequence[str],
    bos: int | None,
) -> tuple[NDArray[np.int32], IntArray]:
    """Return the tokens of conversations, after `bos` if there is one, and their offsets."""
    encoded: Any = tokenizer.apply_chat_template(
        [
            [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
            for prompt, response in zip(prompts, responses, strict=True)
        ],
        chat_template=_with_fixed_clock(tokenizer.get_chat_template()),
        tokenize=True,
        return_dict=True,
        tokenizer_kwargs={"verbose": False},
        date_string=TEMPLATE_DATE.strftime("%d %b %Y"),
    )
    ids, offsets = flatten_tokens(encoded["input_ids"])
    if bos is None:
        return ids, offsets
    return np.insert(ids, offsets[:-1], bos), offsets + np.arange(len(offsets))


def _with_fixed_clock(template: str) -> str:
    """Return a template whose `strftime_now` returns the fixed date.

    Some templates call it whatever `date_string` says; a macro of that name goes before them.
    """
    if "strftime_now" not in template:
        return template
    dates = "".join(f"|replace('{code}', '{TEMPLATE_DATE:{code}}')" for code in DATE_CODES)
    return f"{{% macro strftime_now(format) %}}{{{{ format{dates} }}}}{{% endmacro %}}\n{template}"


def _split(ids: NDArray[np.int32], offsets: IntArray) -> list[list[int]]:
    return [part.tolist() for part in np.split(ids, offsets[1:-1])]


def _num_shared(texts: list[list[int]], *, from_end: bool = False) -> int:
    columns = zip(*(text[::-1] if from_end else text for text in texts), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
