import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpo.tokens.flat_tokens import flatten_tokens, offsets_of, positions_within, range_positions

SIDES = st.lists(st.lists(st.sampled_from([-1, 0, 1]), max_size=20), max_size=4)


def kept_naively(sides, max_tokens, overlong):
    """One text's positions: tokens go one at a time."""
    kept = list(range(len(sides)))
    while len(kept) > max_tokens:
        prompt = [position for position in kept if sides[position] == 0]
        response = [position for position in kept if sides[position] == 1]
        if not prompt and not response:
            break
        if prompt:
            kept.remove(prompt[0])
        else:
            kept.remove(response[0] if overlong == "truncate_left" else response[-1])
    return kept


@pytest.mark.parametrize("overlong", ["truncate_prompt", "truncate_left", "drop"])
@given(texts=SIDES, max_tokens=st.integers(1, 20))
def test_positions_are_those_of_a_naive_loop(overlong, texts, max_tokens):
    sides = np.array([side for text in texts for side in text], dtype=np.int8)
    offsets = offsets_of(np.array([len(text) for text in texts], dtype=np.int64))
    expected = [
        offset + position
        for offset, text in zip(offsets[:-1].tolist(), texts, strict=True)
        for position in kept_naively(text, max_tokens, overlong)
    ]
    got = positions_within(sides, offsets, max_tokens=max_tokens, overlong=overlong)
    assert got.tolist() == expected


def test_policies_by_hand():
    sides, offsets = np.array([-1, 0, 0, -1, 1, 1, 1, -1], dtype=np.int8), np.array([0, 8])
    for overlong, kept in (
        ("truncate_prompt", [0, 3, 4, 5, 7]),
        ("truncate_left", [0, 3, 5, 6, 7]),
        ("drop", [0, 3, 4, 5, 7]),
    ):
        got = positions_within(sides, offsets, max_tokens=5, overlong=overlong)
        assert got.tolist() == kept
    only_the_prompt = positions_within(sides, offsets, max_tokens=7, overlong="truncate_left")
    assert only_the_prompt.tolist() == [0, 2, 3, 4, 5, 6, 7]


def test_ranges_and_lists_end_to_end():
    assert range_positions(np.array([5, 2, 9]), np.array([2, 0, 1])).tolist() == [5, 6, 9]
    assert range_positions(np.zeros(0, np.int64), np.zeros(0, np.int64)).tolist() == []
    ids, offsets = flatten_tokens([[7, 8], [], [9]])
    assert (ids.tolist(), offsets.tolist()) == ([7, 8, 9], [0, 2, 2, 3])
    assert ids.dtype == np.int32
    ids, offsets = flatten_tokens([])
    assert (ids.tolist(), offsets.tolist()) == ([], [0])
