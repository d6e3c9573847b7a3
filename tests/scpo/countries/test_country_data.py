from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpo.countries.country_data import build_country, pair_margins, rows_of, utterance_texts
from scpo.countries.reference_cache import text_keys
from scpo.data.interactions import INTERACTIONS_SCHEMA
from scpo.data.pairs import build_pairs
from scpo.data.splits import split_users
from scpo.tokens.encoding import encode_texts
from scpo.tokens.prompts import Dialogue


def make_table(*rows):
    """Rows of (user, responses, scores)."""
    return pa.Table.from_pylist(
        [
            {
                "interaction_id": f"i{number}",
                "user_id": user,
                "country": "A",
                "prompt": f"{user} a",
                "responses": responses,
                "scores": scores,
                "turn": 0,
            }
            for number, (user, responses, scores) in enumerate(rows)
        ],
        schema=INTERACTIONS_SCHEMA,
    )


def build(tokenizer, table, split, reference=None, *, max_tokens=32, overlong="truncate_prompt"):
    prompts, responses = utterance_texts(table)
    texts = encode_texts(tokenizer, prompts, responses, max_tokens=max_tokens, overlong=overlong)
    reference = np.arange(len(texts), dtype=float) if reference is None else reference
    return build_country("A", table, split, texts, reference, overlong=overlong)


@pytest.fixture
def data(pair_tokenizer):
    table = make_table(
        ("b", ["good", "bad bad"], [2.0, 1.0]),
        ("c", ["a", "a", "d"], [1.0, 3.0, 2.0]),  # the first two are one text
        ("d", ["zzz", "yyy"], [1.0, 2.0]),  # both are one unknown token
        ("b", ["g", "h h h"], [1.0, 9.0]),
    )
    split = {"b": "train", "c": "validation", "d": "test"}
    return build(pair_tokenizer, table, split, np.array([1.0, 3, 0, 5, 9, 2, 2, 4, 4]))


def test_pairs_of_equal_tokens_are_dropped_and_counted(data):
    assert data.num_identical == 2
    assert list(zip(data.pairs.chosen, data.pairs.rejected, strict=True)) == [
        (0, 1),
        (4, 2),
        (3, 4),
        (8, 7),
    ]


def test_pairs_are_named_by_interaction_and_positions(data):
    assert data.pair_ids.tolist() == ["i0:0>1", "i1:2>0", "i1:1>2", "i3:1>0"]


def test_a_user_is_a_person_unless_the_source_says_question(pair_tokenizer, data):
    assert data.unit == "user"
    table = make_table(("b", ["good", "bad"], [1.0, 0.0]))
    asked = table.set_column(table.column_names.index("unit"), "unit", [["question"]])
    assert build(pair_tokenizer, asked, {"b": "train"}).unit == "question"


def test_a_tenth_response_has_its_own_number(pair_tokenizer):
    table = make_table(("b", [*"abcdefgh", "good", "bad", "fine"], list(range(11))))
    names = build(pair_tokenizer, table, {"b": "train"}).pair_ids.tolist()
    assert len(set(names)) == 55
    assert {"i0:10>9", "i0:10>1", "i0:1>0"} < set(names)


def test_no_pair_at_all(pair_tokenizer):
    data = build(pair_tokenizer, make_table(("b", ["a", "c"], [1.0, 1.0])), {"b": "train"})
    assert data.pair_ids.shape == data.user.shape == data.part.shape == (0,)
    assert (data.num_identical, data.num_overlong, data.num_truncated) == (0, 0, 0)


OVERLONG = (
    ("b", ["good", "a b c d e f g h", "fine"], [3.0, 2.0, 1.0]),
    ("b", ["c c c c c c c good", "c c c c c c c bad"], [1.0, 2.0]),  # the same once cut
    ("c", ["good", "bad"], [1.0, 2.0]),
)


def test_truncated_texts_stay_and_are_counted(pair_tokenizer):
    split = {"b": "train", "c": "test"}
    data = build(pair_tokenizer, make_table(*OVERLONG), split, max_tokens=9)
    assert data.pair_ids.tolist() == ["i0:0>1", "i0:0>2", "i0:1>2", "i2:1>0"]
    assert (data.num_truncated, data.num_overlong, data.num_identical) == (3, 0, 1)


def test_a_response_cut_at_its_left_keeps_its_end(pair_tokenizer):
    split = {"b": "train", "c": "test"}
    table = make_table(*OVERLONG)
    data = build(pair_tokenizer, table, split, max_tokens=9, overlong="truncate_left")
    assert "i1:1>0" in data.pair_ids
    assert (data.num_truncated, data.num_overlong, data.num_identical) == (3, 0, 0)


def test_pairs_with_an_overlong_text_are_dropped_and_counted(pair_tokenizer):
    split = {"b": "train", "c": "test"}
    data = build(pair_tokenizer, make_table(*OVERLONG), split, max_tokens=9, overlong="drop")
    assert data.pair_ids.tolist() == ["i0:0>2", "i2:1>0"]
    assert data.user.tolist() == ["b", "c"]
    assert data.part.tolist() == ["train", "test"]
    assert (data.num_truncated, data.num_overlong, data.num_identical) == (3, 3, 0)


@given(seed=st.integers(0, 10_000))
def test_equal_pairs_are_those_of_a_naive_loop(pair_tokenizer, seed):
    rng = np.random.default_rng(seed)
    rows = [
        (
            "b",
            [" ".join(rng.choice(["a", "b"], rng.integers(0, 4))) for _ in range(4)],
            rng.permutation(4).astype(float).tolist(),
        )
        for _ in range(5)
    ]
    table = make_table(*rows)
    data = build(pair_tokenizer, table, {"b": "train"})
    pairs = build_pairs(table)
    differ = [
        number
        for number in range(len(pairs))
        if data.texts.tokens_of(pairs.chosen[number]).tolist()
        != data.texts.tokens_of(pairs.rejected[number]).tolist()
    ]
    assert data.pairs.chosen.tolist() == pairs.chosen[differ].tolist()
    assert data.pairs.rejected.tolist() == pairs.rejected[differ].tolist()
    assert data.num_identical == len(pairs) - len(differ)


def test_arrays_by_hand(data):
    assert data.user.tolist() == ["b", "c", "c", "b"]
    assert data.part.tolist() == ["train", "validation", "validation", "train"]
    assert data.reference_margin.tolist() == [-2.0, 9.0, -4.0, 0.0]
    assert data.length_margin.tolist() == [-3.0, 0.0, 0.0, 4.0]  # characters
    assert data.pairs_in("validation").tolist() == [1, 2]
    assert data.judges.tolist() == ["b", "c"]
    vetted = replace(data, vetted=data.user == "c")
    assert vetted.judges.tolist() == ["c"]


def test_parts_without_pairs_and_other_parts_are_refused(data):
    with pytest.raises(ValueError, match="A: the test users gave no pair"):
        data.pairs_in("test")
    with pytest.raises(ValueError, match=r"part must be one of train, .*, but got 'dev'"):
        data.pairs_in("dev")


def test_a_training_set_keeps_its_pairs_and_only_their_texts(data):
    whole = data.training_set(np.array([0, 2, 3]), np.array([0.1, 0.2, 0.3]))
    assert len(whole.texts) == 6
    for number, source in enumerate((0, 2, 3)):
        for side in ("chosen", "rejected"):
            ours = whole.texts.tokens_of(getattr(whole, side)[number])
            theirs = data.texts.tokens_of(getattr(data.pairs, side)[source])
            assert ours.tolist() == theirs.tolist()
    assert whole.weights.tolist() == [0.1, 0.2, 0.3]
    assert whole.country == "A"
    assert whole.pair_ids.tolist() == ["i0:0>1", "i1:1>2", "i3:1>0"]
    assert whole.margins is None
    assert pair_margins(whole.reference, whole).tolist() == [-2.0, -4.0, 0.0]
    with pytest.raises(ValueError, match="must be sorted by interaction"):
        data.training_set(np.array([3, 0]), np.ones(2))
    with pytest.raises(ValueError, match="must have one length"):
        data.training_set(np.array([0, 3]), np.ones(4))


def test_a_training_set_carries_the_margins_of_its_pairs(data):
    marked = replace(data, pairs=replace(data.pairs, margins=np.array([0.0, 0.5, 1.5, 2.0])))
    whole = marked.training_set(np.array([1, 3]), np.ones(2))
    assert whole.margins.tolist() == [0.5, 2.0]


def test_lengths_are_characters_and_not_bytes(pair_tokenizer):
    data = build(pair_tokenizer, make_table(("b", ["üü", "abc"], [1.0, 2.0])), {"b": "train"})
    assert data.response_chars.tolist() == [2, 3]


def test_users_are_never_on_two_sides(pair_tokenizer, interactions):
    table = interactions(users={"A": 30}, per_user=4)
    data = build(pair_tokenizer, table, split_users(table, ["A"]))
    sides = {}
    for user, part in zip(data.user.tolist(), data.part.tolist(), strict=True):
        assert sides.setdefault(user, part) == part
    assert set(sides.values()) == {"train", "validation", "test"}
    together = [data.pairs_in(part) for part in ("train", "validation", "test")]
    assert sorted(np.concatenate(together)) == list(range(len(data.pairs)))


def test_texts_of_utterances_come_in_order(interactions):
    table = interactions(users={"A": 2, "B": 1})
    prompts, responses = utterance_texts(table)
    expected = [(row["prompt"], text) for row in table.to_pylist() for text in row["responses"]]
    assert list(zip(prompts, responses, strict=True)) == expected


def test_rows_of_countries(interactions):
    table = interactions(users={"A": 2, "B": 1, "C": 1})
    assert set(rows_of(table, ["C", "A"])["country"].to_pylist()) == {"A", "C"}
    assert rows_of(table, ["B"]).num_rows == 3
    with pytest.raises(ValueError, match=r"No interactions of X, Y; there are some of A, B, C\."):
        rows_of(table, ["A", "X", "Y"])


def test_margins_by_hand(interactions):
    pairs = build_pairs(make_table(("b", ["x", "y"], [2.0, 1.0])))
    assert pair_margins(np.array([0.5, 2.0]), pairs).tolist() == [-1.5]


def test_losses_are_said_where_there_are_some(data):
    assert replace(data, num_identical=0).losses == ""
    lossy = replace(data, num_truncated=3, num_overlong=2, num_identical=1)
    assert lossy.losses == (
        "3 texts truncated, 2 pairs dropped as overlong, 1 pair dropped as identical"
    )
    with pytest.raises(ValueError, match=r"users gave no pair \(3 texts truncated"):
        replace(lossy, part=np.full(len(lossy.part), "train")).pairs_in("test")


def test_turns_of_a_prompt_go_along_and_change_its_keys(interactions):
    table = interactions(users={"Chile": 1}, per_user=2)
    rows = table.to_pylist()
    turns = [{"role": "system", "content": "short"}, {"role": "user", "content": "a"}]
    rows[1]["messages"] = turns
    prompts, responses = utterance_texts(pa.Table.from_pylist(rows, schema=table.schema))
    plain, _ = utterance_texts(table)
    assert prompts[:3] == plain[:3] == [rows[0]["prompt"]] * 3
    assert prompts[3] == Dialogue(rows[1]["prompt"], (("system", "short"), ("user", "a")))
    assert len(responses) == 6
    same = [
        a == b
        for a, b in zip(text_keys(prompts, responses), text_keys(plain, responses), strict=True)
    ]
    assert same == [True] * 3 + [False] * 3
