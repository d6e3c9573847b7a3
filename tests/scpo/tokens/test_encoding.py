import ast
import copy
import gc
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import processors
from transformers import BertTokenizer, PythonBackend

import scpo
from scpo.tokens.encoding import encode_texts, pad_texts

CPU = torch.device("cpu")


def tokens(tokenizer, texts, number):
    return " ".join(tokenizer.convert_ids_to_tokens(texts.tokens_of(number).tolist()))


def types(texts, number):
    return texts.types[texts.offsets[number] : texts.offsets[number + 1]].tolist()


def test_a_text_pair_is_what_the_tokenizer_itself_makes(pair_tokenizer):
    prompts, responses = ["a b", "c"], ["good", "d e f"]
    texts = encode_texts(pair_tokenizer, prompts, responses, max_tokens=16)
    own = pair_tokenizer(prompts, responses)
    for number in range(2):
        assert texts.tokens_of(number).tolist() == own["input_ids"][number]
        assert types(texts, number) == own["token_type_ids"][number]
    assert tokens(pair_tokenizer, texts, 0) == "[CLS] a b [SEP] good [SEP]"
    assert types(texts, 0) == [0, 0, 0, 0, 1, 1]  # the last separator is the response's
    assert texts.num_truncated == 0


def test_the_prompt_loses_its_left_first(pair_tokenizer):
    texts = encode_texts(pair_tokenizer, ["a b c d e f"], ["g h good"], max_tokens=8)
    assert tokens(pair_tokenizer, texts, 0) == "[CLS] e f [SEP] g h good [SEP]"
    assert types(texts, 0) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert texts.num_truncated == 1


def test_then_the_response_loses_its_end(pair_tokenizer):
    texts = encode_texts(pair_tokenizer, ["a b"], ["c d e f g h good bad"], max_tokens=8)
    assert tokens(pair_tokenizer, texts, 0) == "[CLS] [SEP] c d e f g [SEP]"


def test_or_the_response_loses_its_start(pair_tokenizer):
    texts = encode_texts(
        pair_tokenizer,
        ["a b", "a b"],
        ["c d e f g h good bad", "c d e f"],
        max_tokens=8,
        overlong="truncate_left",
    )
    assert tokens(pair_tokenizer, texts, 0) == "[CLS] [SEP] f g h good bad [SEP]"
    assert tokens(pair_tokenizer, texts, 1) == "[CLS] b [SEP] c d e f [SEP]"
    assert texts.overlong.tolist() == [True, True]


def test_texts_to_drop_are_cut_and_named(pair_tokenizer):
    prompts, responses = ["a", "a b c", "a b c"], ["b", "c d e", "c d"]
    texts = encode_texts(pair_tokenizer, prompts, responses, max_tokens=8, overlong="drop")
    cut = encode_texts(pair_tokenizer, prompts, responses, max_tokens=8)
    assert texts.overlong.tolist() == [False, True, False]  # eight tokens are within eight
    assert texts.num_truncated == 1
    assert texts.ids.tolist() == cut.ids.tolist()
    assert texts.offsets.tolist() == cut.offsets.tolist()


def test_a_conversation_has_one_bos_and_its_end(chat_tokenizer):
    texts = encode_texts(chat_tokenizer, ["a b"], ["good"], max_tokens=32)
    assert tokens(chat_tokenizer, texts, 0) == ("<bos> user : a b <eos> assistant : good <eos>")
    # the tokenizer alone would add a second one
    text = chat_tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    assert chat_tokenizer(text)["input_ids"][:2] == [4, 4]


def test_a_conversation_keeps_its_template_and_the_response(chat_tokenizer):
    texts = encode_texts(chat_tokenizer, ["a b c d e f g h"], ["good bad"], max_tokens=10)
    assert tokens(chat_tokenizer, texts, 0) == ("<bos> user : h <eos> assistant : good bad <eos>")
    assert texts.num_truncated == 1


def test_one_function_serves_scoring_and_training():
    """No other place of the package calls a tokenizer."""
    calls = []
    for file in sorted(Path(scpo.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).split(".")[-1]
                if name in ("tokenizer", "apply_chat_template", "encode_plus"):
                    calls.append(file.name)
    # token types of a probe; conversations that are rendered already; a try of the settings
    probes = {"fit_together.py", "models.py", "loading.py"}
    assert set(calls) - probes == {"chat_layout.py", "pair_layout.py"}  # called by encoding.py


def test_many_texts_come_in_order(pair_tokenizer):
    prompts = [f"{'a ' * (number % 5)}b" for number in range(2100)]  # more than two batches
    texts = encode_texts(pair_tokenizer, prompts, ["good"] * 2100, max_tokens=16)
    assert len(texts) == 2100
    assert texts.lengths.tolist() == [5 + number % 5 for number in range(2100)]


def test_nothing_and_empty_texts(pair_tokenizer, chat_tokenizer):
    for tokenizer in (pair_tokenizer, chat_tokenizer):
        assert len(encode_texts(tokenizer, [], [], max_tokens=8)) == 0
    texts = encode_texts(pair_tokenizer, [""], [""], max_tokens=8)
    assert tokens(pair_tokenizer, texts, 0) == "[CLS] [SEP] [SEP]"


def test_bad_input_is_refused(pair_tokenizer):
    with pytest.raises(ValueError, match="2 prompts but 1 responses were given"):
        encode_texts(pair_tokenizer, ["a", "b"], ["c"], max_tokens=8)
    with pytest.raises(ValueError, match=r"`max_tokens >= 8` must hold, but got 7"):
        encode_texts(pair_tokenizer, ["a"], ["c"], max_tokens=7)


def test_a_budget_below_the_special_tokens_is_refused(pair_tokenizer):
    tokenizer = copy.deepcopy(pair_tokenizer)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair="[SEP] " * 9 + "$A $B", special_tokens=[("[SEP]", 3)]
    )
    with pytest.raises(ValueError, match=r"`max_tokens >= 10` .*pair alone takes 9 .*got 9"):
        encode_texts(tokenizer, ["a"], ["c"], max_tokens=9)
    assert encode_texts(tokenizer, ["a"], ["c"], max_tokens=10).lengths.tolist() == [10]


def test_a_slow_tokenizer_is_refused():
    class Slow(PythonBackend):
        vocab_size = 1

        def get_vocab(self):
            return {}

    with pytest.raises(ValueError, match="A fast tokenizer is needed, but got Slow"):
        encode_texts(Slow(), ["a"], ["b"], max_tokens=8)
    assert BertTokenizer.is_fast  # what a real checkpoint of BERT loads


def test_padding_by_hand(pair_tokenizer):
    texts = encode_texts(pair_tokenizer, ["a", "a b"], ["c", "d"], max_tokens=8)
    batch = pad_texts(texts, np.array([1, 0]), pad_id=0, with_types=True, device=CPU)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[2, 9, 10, 3, 12, 3], [2, 9, 3, 11, 3, 0]],
        "attention_mask": [[1] * 6, [1] * 5 + [0]],
        "token_type_ids": [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0]],
    }
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())
    other = pad_texts(texts, np.array([1, 0]), pad_id=7, with_types=False, device=CPU)
    assert other["input_ids"][1, -1] == 7
    assert "token_type_ids" not in other


def test_taking_texts_keeps_them(pair_tokenizer):
    prompts = ["a", "a b c", "d", "e f"]
    replies = ["good", "g", "h h h h h h", "b"]
    texts = encode_texts(pair_tokenizer, prompts, replies, max_tokens=8)
    taken = texts.take(np.array([2, 0, 2]))
    assert len(taken) == 3
    for number, source in enumerate([2, 0, 2]):
        assert taken.tokens_of(number).tolist() == texts.tokens_of(source).tolist()
        assert types(taken, number) == types(texts, source)
    assert taken.overlong.tolist() == [True, False, True]
    assert taken.num_truncated == 2
    assert len(texts.take(np.zeros(0, dtype=np.int64))) == 0


def test_no_garbage_is_collected_while_many_texts_are_tokenised(pair_tokenizer):
    """It would go through all texts again and again, so that a million took half as long more."""
    collected = []

    def note(phase, info):
        collected.append(any(frame.name == "_encode" for frame in traceback.extract_stack()))

    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    gc.callbacks.append(note)
    try:
        encode_texts(pair_tokenizer, ["a b"] * 50, ["c"] * 50, max_tokens=16)
    finally:
        gc.callbacks.remove(note)
        gc.set_threshold(*before)
    assert not any(collected)
    assert gc.isenabled()
