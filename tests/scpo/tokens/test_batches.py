from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpo.tokens.batches import (
    TrainingSet,
    cut_forwards,
    plan_epoch,
    plan_steps,
    shard_step,
    texts_of_step,
)

LENGTHS = st.lists(st.integers(1, 64), min_size=1, max_size=60)


@pytest.mark.parametrize("pairs_per_step", [1, 8, 1000])
def test_an_epoch_visits_every_pair_once(training_set, pairs_per_step):
    data = training_set(num_interactions=40)
    for seed in range(5):
        steps = plan_epoch(data, pairs_per_step=pairs_per_step, rng=np.random.default_rng(seed))
        assert np.array_equal(np.sort(np.concatenate(steps)), np.arange(len(data.chosen)))


def test_interactions_are_never_split(training_set):
    data = training_set(num_interactions=40)
    sizes = Counter(data.interaction.tolist())
    for step in plan_epoch(data, pairs_per_step=8, rng=np.random.default_rng(0)):
        counts = Counter(data.interaction[step].tolist())
        assert all(sizes[key] == count for key, count in counts.items())
        assert len(step) <= 8 or len(counts) == 1


def test_steps_are_about_as_large_as_asked(training_set):
    data = training_set(num_interactions=400, longest=3)
    steps = plan_epoch(data, pairs_per_step=16, rng=np.random.default_rng(0))
    assert np.mean([len(step) for step in steps]) > 13
    alone = plan_epoch(data, pairs_per_step=1, rng=np.random.default_rng(0))
    assert len(alone) == 400  # at least one interaction a step


def test_lengths_are_bucketed_and_the_order_is_random(training_set):
    data = training_set(num_interactions=400, longest=40)
    longest = {}
    for side in (data.chosen, data.rejected):
        for key, length in zip(data.interaction, data.texts.lengths[side], strict=True):
            longest[key] = max(longest.get(key, 0), length)
    steps = plan_epoch(data, pairs_per_step=16, rng=np.random.default_rng(0))
    sizes = [[longest[key] for key in np.unique(data.interaction[step])] for step in steps]
    assert np.mean([np.std(size) for size in sizes]) < 0.2 * np.std(list(longest.values()))
    means = np.array([np.mean(size) for size in sizes])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.4


def test_the_plan_is_a_function_of_the_seed(training_set):
    data = training_set(num_interactions=20)
    first, again, other = (
        plan_steps(data, pairs_per_step=8, num_steps=30, seed=seed) for seed in (1, 1, 2)
    )
    assert len(first) == 30  # several epochs
    assert [s.tolist() for s in first] == [s.tolist() for s in again]
    assert [s.tolist() for s in first] != [s.tolist() for s in other]
    one = len(plan_epoch(data, pairs_per_step=8, rng=np.random.default_rng(1)))
    assert first[0].tolist() != first[one].tolist()  # each epoch has its own order
    assert np.array_equal(np.sort(np.concatenate(first[:one])), np.arange(len(data.chosen)))


@pytest.mark.parametrize(("pairs_per_step", "num_steps"), [(0, 1), (1, 0)])
def test_steps_must_hold_something(training_set, pairs_per_step, num_steps):
    with pytest.raises(ValueError, match=r"`pairs_per_step >= 1` and `num_steps >= 1`"):
        plan_steps(training_set(), pairs_per_step=pairs_per_step, num_steps=num_steps, seed=0)


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_ranks_share_a_step_by_whole_interactions(training_set, world_size):
    data = training_set(num_interactions=40)
    step = plan_steps(data, pairs_per_step=24, num_steps=1, seed=0)[0]
    shards = [
        shard_step(data, step, shard=rank, num_shards=world_size) for rank in range(world_size)
    ]
    assert sorted(np.concatenate(shards)) == sorted(step)
    owners = [set(data.interaction[shard].tolist()) for shard in shards]
    assert sum(map(len, owners)) == len(set.union(*owners))
    assert max(map(len, owners)) - min(map(len, owners)) <= 1


def test_texts_of_a_step_come_once_and_longest_first(training_set):
    data = training_set(num_interactions=40)
    step = plan_steps(data, pairs_per_step=24, num_steps=1, seed=0)[0]
    which = texts_of_step(data, step)
    assert set(which) == set(data.chosen[step]) | set(data.rejected[step])
    assert len(set(which)) == len(which)
    assert np.all(np.diff(data.texts.lengths[which]) <= 0)
    assert texts_of_step(data, step[:0]).tolist() == [0]


@given(lengths=LENGTHS, max_tokens=st.integers(1, 300))
def test_forwards_cover_each_text_once_within_their_tokens(lengths, max_tokens):
    lengths = np.array(lengths)
    which = np.argsort(-lengths, kind="stable")
    forwards = cut_forwards(which, lengths, max_tokens=max_tokens)
    assert np.concatenate(forwards).tolist() == which.tolist()
    for forward in forwards:
        longest = lengths[forward].max()
        assert len(forward) == 1 or len(forward) * longest <= max_tokens
        assert lengths[forward].min() >= 0.85 * longest


def test_forwards_by_hand():
    lengths = np.array([10, 10, 9, 8, 3])
    cut = cut_forwards(np.arange(5), lengths, max_tokens=20)
    assert [forward.tolist() for forward in cut] == [[0, 1], [2, 3], [4]]
    assert [f.tolist() for f in cut_forwards(np.arange(5), lengths, max_tokens=1)] == [
        [0], [1], [2], [3], [4],
    ]  # fmt: skip
    assert cut_forwards(np.arange(0), lengths, max_tokens=20) == []


def test_small_passes_take_in_shorter_texts():
    """A GPU waits longer for a pass to be launched than for some padding."""
    lengths = np.array([10, 10, 8, 5, 5, 4, 1])
    fine = cut_forwards(np.arange(7), lengths, max_tokens=60)
    assert [f.tolist() for f in fine] == [[0, 1], [2], [3, 4], [5], [6]]
    coarse = cut_forwards(np.arange(7), lengths, max_tokens=60, min_tokens=30)
    assert [f.tolist() for f in coarse] == [[0, 1, 2], [3, 4, 5, 6]]
    whole = cut_forwards(np.arange(7), lengths, max_tokens=60, min_tokens=60)
    assert [f.tolist() for f in whole] == [[0, 1, 2, 3, 4, 5], [6]]


def test_a_training_set_must_be_whole(training_set):
    data = training_set()
    empty = np.zeros(0, dtype=np.int64)
    with pytest.raises(ValueError, match="At least one pair"):
        TrainingSet(data.texts, empty, empty, empty, np.zeros(0))
    with pytest.raises(ValueError, match="must be sorted by interaction"):
        TrainingSet(data.texts, data.chosen, data.rejected, data.interaction[::-1], data.weights)
    with pytest.raises(ValueError, match=r"pairs must have one length, but got \{.*: 3\}"):
        TrainingSet(data.texts, data.chosen, data.rejected, data.interaction, data.weights[:3])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"weights": -1.0}, "Chile: weights must be finite and >= 0"),
        ({"weights": np.nan}, "Chile: weights must be finite and >= 0"),
        ({"margins": np.inf}, "Chile: margins must be finite"),
    ],
)
def test_numbers_out_of_range_are_refused(training_set, change, match):
    data = training_set(num_interactions=4)
    columns = {name: np.full(len(data.chosen), value) for name, value in change.items()}
    with pytest.raises(ValueError, match=match):
        replace(data, country="Chile", **columns)


def test_a_reference_of_other_texts_is_refused(training_set):
    data = training_set(num_interactions=4)
    size = len(data.texts)
    with pytest.raises(ValueError, match=rf"one reward a text, but got {size - 1} for {size}"):
        replace(data, reference=np.zeros(size - 1))
