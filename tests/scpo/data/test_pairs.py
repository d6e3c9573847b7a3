import math

import numpy as np
import pyarrow as pa
import pytest

from scpo.data import pairs as pairs_module
from scpo.data.interactions import INTERACTIONS_SCHEMA
from scpo.data.pairs import build_pairs, response_counts, utterance_interactions


def make_table(*judged, margins=None):
    """One interaction for each (number of responses, scores, comparisons)."""
    rows = [
        {
            "interaction_id": f"i{number}",
            "user_id": "u",
            "country": "A",
            "prompt": "p",
            "responses": [f"r{position}" for position in range(count)],
            "scores": scores,
            "comparisons": comparisons,
            "margins": None if margins is None else margins[number],
            "turn": 0,
        }
        for number, (count, scores, comparisons) in enumerate(judged)
    ]
    return pa.Table.from_pylist(rows, schema=INTERACTIONS_SCHEMA)


def naive_pairs(table):
    """A double loop over the responses of each interaction."""
    found, first = [], 0
    for row, item in enumerate(table.to_pylist()):
        if item["comparisons"]:
            found += [(row, first + a, first + b) for a, b in item["comparisons"]]
        else:
            scores = item["scores"] or []
            found += [
                (row, first + a, first + b)
                for a, better in enumerate(scores)
                for b, worse in enumerate(scores)
                if better > worse
            ]
        first += len(item["responses"])
    return sorted(found)


def as_rows(pairs):
    columns = (pairs.interaction, pairs.chosen, pairs.rejected)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def draw_table(seed, *, kinds):
    rng = np.random.default_rng(seed)
    judged = []
    for _ in range(30):
        count, kind = int(rng.integers(1, 7)), rng.choice(kinds)
        if kind == "scores":
            judged.append((count, (rng.integers(0, 4, count) / 8).tolist(), None))
        elif kind == "none":
            judged.append((count, None, None))
        else:
            drawn = rng.integers(0, count, (rng.integers(0, 5), 2))
            judged.append((count, None, [[int(a), int(b)] for a, b in drawn]))
    return make_table(*judged)


@pytest.mark.parametrize("kinds", [["scores"], ["comparisons"], ["scores", "comparisons", "none"]])
@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_those_of_a_double_loop(seed, kinds):
    table = draw_table(seed, kinds=kinds)
    pairs = build_pairs(table)
    assert as_rows(pairs) == naive_pairs(table)
    assert np.all(np.diff(pairs.interaction) >= 0)
    owner = utterance_interactions(table)
    assert np.array_equal(owner[pairs.chosen], pairs.interaction)
    assert np.array_equal(owner[pairs.rejected], pairs.interaction)


def test_pairs_of_a_table_in_chunks_or_sliced_are_the_same():
    table = draw_table(7, kinds=["scores", "comparisons", "none"])
    chunked = pa.concat_tables([table.slice(0, 11), table.slice(11, 1), table.slice(12)])
    assert as_rows(build_pairs(chunked)) == naive_pairs(table)
    assert as_rows(build_pairs(table.slice(9, 13))) == naive_pairs(table.slice(9, 13))


def test_by_hand():
    table = make_table(
        (2, [1.0, 5.0], None), (1, [3.0], None), (3, [2.0, 2.0, 7.0], None), (2, None, [[0, 1]])
    )
    pairs = build_pairs(table)
    assert as_rows(pairs) == [(0, 1, 0), (2, 5, 3), (2, 5, 4), (3, 6, 7)]
    assert response_counts(table).tolist() == [2, 1, 3, 2]
    assert utterance_interactions(table).tolist() == [0, 0, 1, 2, 2, 2, 3, 3]
    assert len(pairs) == 4
    taken = pairs.take(np.array([True, False, False, True]))
    assert (taken.chosen.tolist(), taken.interaction.tolist()) == ([1, 6], [0, 3])


def test_comparisons_are_exact_where_there_are_scores_too():
    table = make_table((3, [1.0, 2.0, 3.0], [[0, 2]]), (2, [1.0, 2.0], []))
    assert as_rows(build_pairs(table)) == [(0, 0, 2), (1, 4, 3)]
    same_size = make_table((2, [1.0, 2.0], [[0, 1]]), (2, [1.0, 2.0], None))
    assert as_rows(build_pairs(same_size)) == [(0, 0, 1), (1, 3, 2)]


@pytest.mark.parametrize("chunk_rows", [1, 7, 30, 100])
def test_the_size_of_a_chunk_changes_nothing(chunk_rows, monkeypatch):
    table = draw_table(5, kinds=["scores", "comparisons", "none"])
    whole = build_pairs(table)
    monkeypatch.setattr(pairs_module, "CHUNK_ROWS", chunk_rows)
    assert as_rows(build_pairs(table)) == as_rows(whole) == naive_pairs(table)
    assert np.array_equal(build_pairs(table).interaction, whole.interaction)


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_margins_go_with_their_comparisons(chunk_rows, monkeypatch):
    monkeypatch.setattr(pairs_module, "CHUNK_ROWS", chunk_rows)
    table = make_table(
        (3, None, [[2, 0], [1, 0]]),
        (2, [5.0, 1.0], None),
        (2, None, [[1, 0]]),
        (2, None, [[0, 1]]),
        margins=[[0.5, None], None, None, [-2.0]],
    )
    pairs = build_pairs(table)
    assert (pairs.chosen.tolist(), pairs.rejected.tolist()) == ([2, 1, 3, 6, 7], [0, 0, 4, 5, 8])
    assert pairs.margins.tolist() == [0.5, 0.0, 0.0, 0.0, -2.0]
    assert pairs.take(np.array([4, 0])).margins.tolist() == [-2.0, 0.5]
    assert build_pairs(table.slice(1)).margins.tolist() == [0.0, 0.0, -2.0]


@pytest.mark.parametrize("margins", [None, [None, None], [[None], None]])
def test_a_table_without_margins_has_none(margins):
    table = make_table((2, None, [[0, 1]]), (2, [1.0, 2.0], None), margins=margins)
    pairs = build_pairs(table)
    assert pairs.margins is None
    assert pairs.take(np.array([0])).margins is None


@pytest.mark.parametrize(
    ("margins", "match"),
    [
        ([None, [1.0, 2.0]], "Interaction i1 has 1 comparisons but 2 margins"),
        ([None, []], "Interaction i1 has 1 comparisons but 0 margins"),
        ([[1.0], None], "Interaction i0 has 0 comparisons but 1 margins"),
        ([None, [math.nan]], "Interaction i1 has a margin that is not finite"),
        ([None, [math.inf]], "Interaction i1 has a margin that is not finite"),
    ],
)
def test_margins_must_go_with_comparisons_and_be_finite(margins, match):
    table = make_table((2, [1.0, 2.0], None), (2, None, [[0, 1]]), margins=margins)
    with pytest.raises(ValueError, match=match):
        build_pairs(table)


@pytest.mark.parametrize(
    "judged", [[], [(1, [3.0], None)], [(3, [1.0] * 3, None)], [(2, None, None)]]
)
def test_no_pair(judged):
    pairs = build_pairs(make_table(*judged))
    assert len(pairs) == 0
    assert pairs.chosen.dtype == np.int64


def test_scores_must_match_responses():
    table = make_table((2, [1.0, 2.0], None), (3, [1.0, 2.0], None))
    with pytest.raises(ValueError, match="Interaction i1 has 3 responses but 2 scores"):
        build_pairs(table)


@pytest.mark.parametrize("score", [None, math.nan, math.inf])
def test_scores_must_be_finite(score):
    table = make_table((2, [1.0, 2.0], None), (2, [1.0, score], None))
    with pytest.raises(ValueError, match="Interaction i1 has a score that is missing or not"):
        build_pairs(table)


@pytest.mark.parametrize("position", [2, -1, None])
def test_comparisons_must_point_inside(position):
    table = make_table((2, [1.0, 2.0], None), (2, None, [[0, 1], [0, position]]))
    with pytest.raises(ValueError, match=r"Interaction i1 has 2 responses but a comparison"):
        build_pairs(table)


@pytest.mark.parametrize("comparisons", [[[0]], [[0, 1, 0]], [[0], [1, 0, 1]], [[]], [None]])
def test_comparisons_must_be_pairs(comparisons):
    # [[0], [1, 0, 1]] holds four numbers, as two pairs do
    table = make_table((2, [1.0, 2.0], None), (2, None, comparisons))
    with pytest.raises(ValueError, match=r"Interaction i1 has a comparison of \d numbers"):
        build_pairs(table)
