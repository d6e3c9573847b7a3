"""Assembled pairs are the tokenizer's own pairs, token for token and type for type."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, BatchEncoding, PreTrainedTokenizerFast

from scpo.tokens.encoding import encode_texts
from scpo.tokens.pair_layout import learn_pair_layout

WORDS = {"[UNK]": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4, "c": 5}
TEXTS = st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), max_size=6)


@pytest.fixture(scope="session")
def minilm():
    default = Path(__file__).parents[3] / ".venv" / "minilm"
    folder = Path(os.environ.get("SCPO_BACKBONE", default))
    if not (folder / "tokenizer.json").is_file():
        pytest.skip(f"no MiniLM at {folder}; set SCPO_BACKBONE to its folder")
    return AutoTokenizer.from_pretrained(folder)


def make_tokenizer(pair, kind=PreTrainedTokenizerFast, **named):
    backend = Tokenizer(WordLevel(WORDS, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair=pair, special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return kind(tokenizer_object=backend, unk_token="[UNK]", **named)


def assert_as_own(tokenizer, pairs):
    prompts, responses = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    texts = encode_texts(tokenizer, prompts, responses, max_tokens=4096)
    for number in range(len(pairs)):
        own = tokenizer([prompts[number]], [responses[number]]).encodings[0]  # a list: ""
        # alone would be no pair
        part = slice(texts.offsets[number], texts.offsets[number + 1])
        assert texts.ids[part].tolist() == own.ids
        assert texts.types[part].tolist() == own.type_ids


@given(pairs=TEXTS)
def test_any_pair_of_a_bert(pair_tokenizer, pairs):
    assert_as_own(pair_tokenizer, pairs)


@settings(deadline=None, max_examples=50)
@given(pairs=TEXTS)
def test_any_pair_of_minilm(minilm, pairs):
    assert_as_own(minilm, pairs)


@pytest.mark.parametrize(
    "pair",
    [
        "<s> $A </s> </s> $B </s>",  # RoBERTa
        "<s>:3 $A:2 </s>:1 $B:4 <s>:5",
        "$A $B",
        "$A </s> </s> $B:1",
        "$A <s> $B",
    ],
)
def test_other_layouts(pair):
    pairs = [("a b", "c"), ("", "a"), ("a", ""), ("", ""), ("a b", "b zzz")]
    assert_as_own(make_tokenizer(pair), pairs)


def test_a_prompt_of_many_responses_is_tokenised_once(pair_tokenizer, monkeypatch):
    seen = []
    own = type(pair_tokenizer).__call__

    def spy(self, text, pair=None, **named):
        if pair is None:
            seen.extend(text)
        return own(self, text, pair, **named)

    monkeypatch.setattr(type(pair_tokenizer), "__call__", spy)
    prompts = [f"a {number // 4}" for number in range(2400)]
    encode_texts(pair_tokenizer, prompts, ["b"] * 2400, max_tokens=16)
    assert len(seen) == 600 + 2400


def test_the_layout_of_a_bert_by_hand(pair_tokenizer):
    layout = learn_pair_layout(pair_tokenizer)
    assert [part.tolist() for part in layout.ids] == [[2], [3], [3]]
    assert [part.tolist() for part in layout.types] == [[0], [0], [1]]
    assert (layout.prompt_type, layout.response_type, layout.num_special) == (0, 1, 3)


def test_two_bos_are_a_decoder_without_a_chat_template():
    tokenizer = make_tokenizer("<s> $A <s> $B", bos_token="<s>")
    with pytest.raises(ValueError, match=r"both texts of a pair with <s>.*needs a chat template"):
        encode_texts(tokenizer, ["a"], ["b"], max_tokens=8)
    one = make_tokenizer("<s> $A </s> $B", bos_token="<s>")
    assert encode_texts(one, ["a"], ["b"], max_tokens=8).ids.tolist() == [1, 3, 2, 4]


def test_a_response_before_its_prompt_is_refused():
    with pytest.raises(ValueError, match=r"prompt's tokens before the response's.*\[1, -1, 0\]"):
        learn_pair_layout(make_tokenizer("$B </s> $A"))


def test_pairs_that_are_not_their_parts_are_refused():
    class Shouting(PreTrainedTokenizerFast):
        def __call__(self, text, text_pair=None, **named) -> BatchEncoding:
            if isinstance(text_pair, list):  # not the probe
                text_pair = [f"{reply} c" for reply in text_pair]
            return super().__call__(text, text_pair, **named)

    tokenizer = make_tokenizer("<s> $A </s> $B", Shouting)
    with pytest.raises(ValueError, match=r"Shouting must encode a pair as its two .*'a', 'b'"):
        encode_texts(tokenizer, ["a"] * 3, ["b"] * 3, max_tokens=8)


def test_types_that_are_not_the_layouts_are_refused():
    class Typing(PreTrainedTokenizerFast):
        def __call__(self, text, text_pair=None, **named) -> BatchEncoding:
            if isinstance(text_pair, list):
                return one_type(text, text_pair, **named)
            return super().__call__(text, text_pair, **named)

    one_type = make_tokenizer("<s> $A </s> $B")
    tokenizer = make_tokenizer("<s> $A </s> $B:1", Typing)
    with pytest.raises(ValueError, match="between fixed special tokens, but does not"):
        encode_texts(tokenizer, ["a"], ["b"], max_tokens=8)


def test_cut_pairs_keep_their_special_tokens(minilm):
    texts = encode_texts(minilm, ["one two three"] * 2, ["four", "five " * 40], max_tokens=8)
    assert texts.lengths.tolist() == [7, 8]
    assert texts.overlong.tolist() == [False, True]
    ids = texts.tokens_of(1)
    assert ids[[0, 1, -1]].tolist() == [101, 102, 102]  # no prompt is left
    assert np.all(texts.types[texts.offsets[1] :] == [0, 0, 1, 1, 1, 1, 1, 1])
