"""Conversations for decoders, through the tokenizer's own chat template.

A conversation is the prompt's turns (mostly one of the user) and the response as the assistant's.
Probes with different contents show how many tokens at the start, between prompt and response and
at the end belong to the template: those are never cut. A dialogue over the budget loses its
oldest turns whole, then its system message, and the template renders what is left; only of a last
message that is too long tokens go. A template that stamps a date is given a fixed one, or tokens
would change from day to day; a conversation begins with exactly one BOS where the tokenizer uses
one. Both are put into the template (`read_template`), which exports carry to other programs.

A template is a program of whoever made the model: it runs apart, within bounds
(`scpo.tokens.chat_template`), and what it raises becomes one line.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from scpo.arrays import IntArray
from scpo.tokens.chat_template import TemplateFailure, render_conversations
from scpo.tokens.flat_tokens import CHUNK_TEXTS, SIDE_ORDER, WholeTexts, flatten_tokens
from scpo.tokens.prompts import Prompt, prompt_turns, shorter_prompt

TEMPLATE_DATE = datetime(2024, 7, 26)  # the date that Llama's templates fall back on
DATE_CODES = ("%a", "%A", "%b", "%B", "%d", "%j", "%m", "%y", "%Y", "%H", "%M", "%S")
_CLOCK_NAMES = ("strftime_now", "date_string")
_FORMATTED = "format" + "".join(f"|replace('{c}', '{TEMPLATE_DATE:{c}}')" for c in DATE_CODES)
_CLOCK = (
    f"{{% set date_string = '{TEMPLATE_DATE:%d %b %Y}' %}}"
    f"{{% macro strftime_now(format) %}}{{{{ {_FORMATTED} }}}}{{% endmacro %}}"
)
PROBES = ("a", "b", "1", "?")


@dataclass(frozen=True)
class ChatLayout:
    """Tokens that belong to a tokenizer's chat template.

    Attributes:
        template: What renders a conversation, of `read_template`.
        num_start: Template tokens before the prompt, BOS included.
        num_between: Template tokens between prompt and response.
        num_end: Template tokens after the response.
        num_probe_reply: Tokens of the first probe as a response, with the template's end.
    """

    template: str
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
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        max_tokens: int,
    ) -> Iterator[WholeTexts]:
        """Yield the conversations a chunk at a time, whole but for turns over the budget.

        The response begins where it begins when the prompt is answered with the first probe.

        Raises:
            ValueError: The template refuses a conversation.
        """
        heads: dict[Prompt, int] = {}
        for start in range(0, len(prompts), CHUNK_TEXTS):
            replies = responses[start : start + CHUNK_TEXTS]
            given = prompts[start : start + CHUNK_TEXTS]
            ours, lengths = self._leave_out_turns(tokenizer, given, replies, max_tokens)
            new = [prompt for prompt in dict.fromkeys(ours) if prompt not in heads]
            if new:
                _, offsets = _chat_tokens(tokenizer, new, [PROBES[0]] * len(new), self.template)
                heads.update(
                    zip(new, (np.diff(offsets) - self.num_probe_reply).tolist(), strict=True)
                )
            ids, offsets = _chat_tokens(tokenizer, ours, replies, self.template)
            segments = self._segments(np.diff(offsets), np.array([heads[text] for text in ours]))
            sides = np.repeat(np.tile(SIDE_ORDER, len(ours)), segments.ravel())
            types = np.zeros(len(ids), dtype=np.int8)
            yield WholeTexts(ids, types, sides, offsets, np.maximum(lengths, np.diff(offsets)))

    def _leave_out_turns(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        max_tokens: int,
    ) -> tuple[list[Prompt], IntArray]:
        """Return prompts whose dialogues fit, if they can, and what those had of tokens, or 0."""
        kept = list(prompts)
        before = np.zeros(len(kept), dtype=np.int64)
        waiting = [n for n, prompt in enumerate(kept) if shorter_prompt(prompt) is not None]
        while waiting:
            ours, replies = [kept[n] for n in waiting], [responses[n] for n in waiting]
            lengths = np.diff(_chat_tokens(tokenizer, ours, replies, self.template)[1])
            before[waiting] = np.maximum(before[waiting], lengths)
            still = []
            for number, length in zip(waiting, lengths.tolist(), strict=True):
                shorter = shorter_prompt(kept[number])
                if length > max_tokens and shorter is not None:
                    kept[number] = shorter
                    still.append(number)
            waiting = still
        return kept, before

    def _segments(self, lengths: IntArray, heads: IntArray) -> IntArray:
        """Return the tokens of each text's five segments, shape (U, 5).

        Where a content and the template share a token, or a dialogue has a system message in
        place of the template's own, a text has fewer than the template's; every count is held
        inside the text.
        """
        end = np.minimum(self.num_end, lengths)
        head = np.clip(heads, 0, lengths - end)
        between = np.minimum(self.num_between, head)
        start = np.minimum(self.num_start, head - between)
        return np.stack(
            [start, head - start - between, between, lengths - end - head, end], axis=1
        )


def learn_chat_layout(tokenizer: PreTrainedTokenizerBase) -> ChatLayout:
    """Learn from probes what the chat template adds to a prompt and a response.

    Raises:
        ValueError: The template does not parse, raises or does not end, begins with more than
            one BOS, or does not show the prompt and then the response; or of several none is the
            default.
    """
    template = read_template(tokenizer)
    fixed = [PROBES[0]] * len(PROBES)
    by_prompt = _split(*_chat_tokens(tokenizer, PROBES, fixed, template))
    by_response = _split(*_chat_tokens(tokenizer, fixed, PROBES, template))
    length = len(by_prompt[0])
    num_start, num_end = _num_shared(by_prompt), _num_shared(by_response, from_end=True)
    num_head, num_after = _num_shared(by_response), _num_shared(by_prompt, from_end=True)
    num_between = num_head - (length - num_after)
    if max(num_start, num_head) >= length or num_between < 0:
        raise ValueError(
            f"The chat template of {_name_of(tokenizer)} must show the user's text and then "
            "the assistant's, but other texts change nothing or in another order. Mend the "
            "template."
        )
    return ChatLayout(template, num_start, num_between, num_end, length - num_head)


def read_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the chat template by which conversations are read, here and by whom an export tells.

    It has a fixed date, and begins with BOS where the tokenizer begins plain text with it.

    Raises:
        ValueError: The template raises, or begins with more than one BOS; or of several none is
            the default.
    """
    named = tokenizer.chat_template
    if isinstance(named, dict) and "default" not in named:
        raise ValueError(
            f"One chat template of {_name_of(tokenizer)} must be named default, but there are "
            f"{', '.join(named)}. Name one so in tokenizer_config.json."
        )
    template = _with_fixed_clock(tokenizer.get_chat_template())
    bos = tokenizer.bos_token_id
    if bos is None:
        return template
    first = _chat_tokens(tokenizer, PROBES[:1], PROBES[:1], template)[0][:2].tolist()
    if first == [bos, bos]:
        raise ValueError(
            f"A conversation must begin with one {tokenizer.bos_token}, but the chat template of "
            f"{_name_of(tokenizer)} begins with two or more. Remove it from the template."
        )
    if first[:1] == [bos] or text_bos(tokenizer) is None:
        return template
    return f"{{{{ bos_token }}}}{{# as plain text begins #}}\n{template}"


def text_bos(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return BOS where the tokenizer begins plain text with it."""
    bos: int | None = tokenizer.bos_token_id
    return bos if bos in tokenizer(PROBES[0])["input_ids"][:1] else None


def _chat_tokens(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    template: str,
) -> tuple[NDArray[np.int32], IntArray]:
    """Return the tokens of conversations as a template renders them, and their offsets."""
    turns = [
        [*prompt_turns(prompt), ("assistant", response)]
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    try:
        texts = render_conversations(
            template,
            {
                **tokenizer.special_tokens_map,
                "tools": None,
                "documents": None,
                "add_generation_prompt": False,
            },
            [[{"role": role, "content": content} for role, content in each] for each in turns],
        )
    except TemplateFailure as error:
        roles = ", ".join(dict.fromkeys(", ".join(role for role, _ in each) for each in turns[:8]))
        raise ValueError(
            f"The chat template of {_name_of(tokenizer)} must render conversations of {roles}, "
            f"but {error}. Mend chat_template in the model's folder, or leave such conversations "
            "out of the data."
        ) from error
    encoded = tokenizer(texts, add_special_tokens=False, verbose=False)
    return flatten_tokens(encoded["input_ids"])


def _name_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the model's folder or hub name, where the tokenizer knows it."""
    return tokenizer.name_or_path or type(tokenizer).__name__


def _with_fixed_clock(template: str) -> str:
    """Return a template whose `date_string` and `strftime_now` say the fixed date.

    Some templates call the latter whatever the former says; a macro of that name goes before
    them.
    """
    if template.startswith(_CLOCK) or not any(name in template for name in _CLOCK_NAMES):
        return template
    return f"{_CLOCK}\n{template}"


def _split(ids: NDArray[np.int32], offsets: IntArray) -> list[list[int]]:
    return [part.tolist() for part in np.split(ids, offsets[1:-1])]


def _num_shared(texts: list[list[int]], *, from_end: bool = False) -> int:
    columns = zip(*(text[::-1] if from_end else text for text in texts), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
