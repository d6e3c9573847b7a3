"""What comes from the store is what the tokenizer made, also after damage."""

import copy

import numpy as np
import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from scpo.tokens.encoding import encode_texts
from scpo.tokens.token_store import load_or_encode

PROMPTS, RESPONSES = ["a b c d e f", "a", "a", ""], ["good bad", "fine", "", "g h"]
ARRAYS = ("ids", "types", "offsets", "overlong")


def load(store, tokenizer, prompts=PROMPTS, responses=RESPONSES, **named):
    return load_or_encode(store, tokenizer, prompts, responses, **{"max_tokens": 8, **named})


def files(store, pattern="*.arrow"):
    return sorted((store / "tokens").glob(pattern))


def assert_equal(ours, theirs):
    for name in ARRAYS:
        left, right = getattr(ours, name), getattr(theirs, name)
        assert left.dtype == right.dtype, name
        assert left.tolist() == right.tolist(), name


@pytest.fixture
def no_encoding(monkeypatch):
    return lambda: monkeypatch.setattr("scpo.tokens.token_store.encode_texts", None)


@pytest.mark.parametrize("overlong", ["truncate_prompt", "truncate_left", "drop"])
def test_a_second_call_reads_what_the_first_wrote(tmp_path, pair_tokenizer, no_encoding, overlong):
    direct = encode_texts(pair_tokenizer, PROMPTS, RESPONSES, max_tokens=8, overlong=overlong)
    assert direct.overlong.tolist() == [True, False, False, False]
    assert_equal(load(tmp_path, pair_tokenizer, overlong=overlong), direct)
    no_encoding()
    assert_equal(load(tmp_path, pair_tokenizer, overlong=overlong), direct)
    assert [path.suffix for path in (tmp_path / "tokens").iterdir()] == [".arrow"]


def test_arrays_are_read_only_views_of_the_file(tmp_path, pair_tokenizer):
    before = pa.total_allocated_bytes()
    texts = load(tmp_path, pair_tokenizer)
    assert pa.total_allocated_bytes() == before
    for name in ARRAYS:
        array = getattr(texts, name)
        assert not array.flags.writeable
        assert not array.flags.owndata
    taken = texts.take(np.array([3, 0]))
    assert taken.tokens_of(1).tolist() == texts.tokens_of(0).tolist()


def test_nothing_is_stored_too(tmp_path, pair_tokenizer, no_encoding):
    assert len(load(tmp_path, pair_tokenizer, [], [])) == 0
    no_encoding()
    texts = load(tmp_path, pair_tokenizer, [], [])
    assert (texts.ids.shape, texts.offsets.tolist(), texts.num_truncated) == ((0,), [0], 0)


def test_whatever_changes_the_tokens_has_its_own_file(tmp_path, pair_tokenizer, chat_tokenizer):
    spoken = copy.deepcopy(chat_tokenizer)
    spoken.chat_template = spoken.chat_template.replace("assistant", "user")
    unknown = copy.deepcopy(pair_tokenizer)
    unknown.backend_tokenizer.add_tokens(["new"])
    split = copy.deepcopy(pair_tokenizer)
    split.split_special_tokens = True
    one = (["a"], ["b"])
    calls = [
        (pair_tokenizer, *one, {}),
        (pair_tokenizer, *one, {"max_tokens": 9}),
        (pair_tokenizer, *one, {"overlong": "drop"}),
        (pair_tokenizer, ["b"], ["b"], {}),
        (pair_tokenizer, ["a"], ["a"], {}),
        (pair_tokenizer, ["ab"], ["c"], {}),
        (pair_tokenizer, ["a"], ["bc"], {}),
        (pair_tokenizer, ["a", "b"], ["bc", ""], {}),
        (pair_tokenizer, ["a", "b"], ["b", "c"], {}),
        (chat_tokenizer, *one, {}),
        (spoken, *one, {}),
        (unknown, *one, {}),
        (split, *one, {}),
    ]
    for number, (tokenizer, prompts, responses, named) in enumerate(calls):
        load(tmp_path, tokenizer, prompts, responses, **named)
        assert len(files(tmp_path)) == number + 1
    for tokenizer, prompts, responses, named in calls:
        load(tmp_path, tokenizer, prompts, responses, **named)
    assert len(files(tmp_path)) == len(calls)


def test_padding_and_truncation_of_an_earlier_call_change_nothing(tmp_path, pair_tokenizer):
    load(tmp_path, pair_tokenizer)
    pair_tokenizer(["a b c"], padding="max_length", truncation=True, max_length=5)
    load(tmp_path, pair_tokenizer)
    assert len(files(tmp_path)) == 1


def test_a_tokenizer_read_anew_gives_a_file_the_same_name(tmp_path, model_folder):
    for kind in ("bert", "llama"):  # hash tables of Rust have another order in each object
        for _ in range(4):
            tokenizer = AutoTokenizer.from_pretrained(model_folder(kind))
            load(tmp_path / kind, tokenizer, ["a"], ["b"])
        assert len(files(tmp_path / kind)) == 1


@pytest.mark.parametrize("where", ["middle", "end", "half", "empty", "other", "fewer"])
def test_a_damaged_file_is_moved_aside_and_made_again(tmp_path, pair_tokenizer, where):
    expected = load(tmp_path, pair_tokenizer)
    [path] = files(tmp_path)
    whole = path.read_bytes()
    load(tmp_path / "other", pair_tokenizer, PROMPTS[::-1], RESPONSES)
    load(tmp_path / "fewer", pair_tokenizer, PROMPTS[:3], RESPONSES[:3])
    damaged = {
        "middle": whole.replace(expected.ids.tobytes(), bytes(len(expected.ids) * 4)),
        "end": whole[:-5] + b"XXXXX",
        "half": whole[: len(whole) // 2],
        "empty": b"",
        "other": files(tmp_path / "other")[0].read_bytes().replace(b"ids", b"idx"),
        "fewer": files(tmp_path / "fewer")[0].read_bytes(),
    }[where]
    path.unlink()  # a file of its own: the views above keep the old one
    path.write_bytes(damaged)
    assert_equal(load(tmp_path, pair_tokenizer), expected)
    assert [aside.read_bytes() for aside in files(tmp_path, "*.damaged")] == [damaged]
    assert path.read_bytes() == whole


def test_no_flipped_byte_goes_unseen(tmp_path, pair_tokenizer):
    expected = load(tmp_path, pair_tokenizer)
    [path] = files(tmp_path)
    whole = path.read_bytes()
    aside = path.with_name(f"{path.name}.damaged")
    num_seen = 0
    for position in range(0, len(whole), 7):
        path.unlink()
        path.write_bytes(
            whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :]
        )
        assert_equal(load(tmp_path, pair_tokenizer), expected)
        num_seen += aside.exists()
        aside.unlink(missing_ok=True)
    assert num_seen > len(whole) / 7 / 10  # the rest is padding or repeated


def test_a_disk_that_does_not_keep_what_was_written_is_named(
    tmp_path, pair_tokenizer, monkeypatch
):
    monkeypatch.setattr("scpo.tokens.token_store._read", lambda path, num_texts: None)
    with pytest.raises(RuntimeError, match="just written but reads back otherwise"):
        load(tmp_path, pair_tokenizer)


def test_bad_input_is_refused_and_leaves_no_file(tmp_path, pair_tokenizer):
    with pytest.raises(ValueError, match="2 prompts but 1 responses were given"):
        load(tmp_path, pair_tokenizer, ["a", "b"], ["c"])
    assert not (tmp_path / "tokens").exists()
