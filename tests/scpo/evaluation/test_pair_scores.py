from collections import defaultdict
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scpo.evaluation.pair_scores import (
    join_folds,
    own_labels,
    pool_evaluations,
    split_label,
    write_pairs,
)
from scpo.statistics.accuracy import pair_accuracy
from tests.scpo.evaluation.pairs_file import read_pairs


def assert_same(one, other):
    assert (one.country, one.unit) == (other.country, other.unit)
    assert one.rewards.keys() == other.rewards.keys()
    for name in ("user", "pair_id", "part", "reference_margin", "length_difference"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for label in one.rewards:
        np.testing.assert_array_equal(one.rewards[label], other.rewards[label])


def test_a_file_gives_every_number_back_to_the_bit(scored_countries, tmp_path):
    scores = [replace(each, unit="question") for each in scored_countries()]
    write_pairs(scores, tmp_path / "out" / "pairs.parquet")
    again = read_pairs(tmp_path / "out" / "pairs.parquet")
    assert len(again) == len(scores)
    for one, other in zip(again, scores, strict=True):
        assert_same(one, other)


def test_a_file_of_before_units_is_of_people(scored_countries, tmp_path):
    scores = scored_countries()
    write_pairs(scores, tmp_path / "pairs.parquet")
    table = pq.read_table(tmp_path / "pairs.parquet").drop_columns(["unit"])
    pq.write_table(table, tmp_path / "old.parquet")
    for one, other in zip(read_pairs(tmp_path / "old.parquet"), scores, strict=True):
        assert_same(one, other)


def test_the_file_has_the_agreed_columns(scored_countries, tmp_path):
    scores = scored_countries(("Chile",), arms=("scpo",))
    write_pairs(scores, tmp_path / "pairs.parquet")
    table = pq.read_table(tmp_path / "pairs.parquet")
    names = ["country", "user", "pair_id", "part", "model"]
    numbers = ["reward_chosen", "reward_rejected", "reference_margin", "length_difference"]
    assert table.schema.names == [*names, *numbers, "unit"]
    assert all(table.schema.field(name).type == pa.float64() for name in numbers)
    assert table.num_rows == len(scores[0]) * 3  # global, Chile/scpo, length


def test_accuracy_from_the_file_alone_equals_that_of_the_margins(scored_countries, tmp_path):
    scores = scored_countries()
    tied = dict(scores[0].rewards)
    tied["tied"] = np.round(tied["global"])  # some ties, which are wrong
    scores[0] = replace(scores[0], rewards=tied)
    write_pairs(scores, tmp_path / "pairs.parquet")
    right = defaultdict(list)
    for row in pq.read_table(tmp_path / "pairs.parquet").to_pylist():
        if row["part"] == "test":
            is_right = row["reward_chosen"] > row["reward_rejected"]
            right[row["country"], row["model"]].append(is_right)
    found = {key: np.mean(each) for key, each in right.items()}
    for each in scores:
        test = each.in_part("test")
        for label in each.rewards:
            accuracy = pair_accuracy(test.margin(label), test.user)
            assert found.pop((each.country, label)) == accuracy.interval.value
    assert found == {}
    assert pair_accuracy(scores[0].margin("tied"), scores[0].user).ties > 0


def test_a_file_that_lacks_a_models_pair_is_refused(scored_countries, tmp_path):
    path = tmp_path / "pairs.parquet"
    write_pairs(scored_countries(("Chile",)), path)
    table = pq.read_table(path)
    pq.write_table(table.slice(0, table.num_rows - 1), path)
    with pytest.raises(ValueError, match="all models of Chile must have the same pairs"):
        read_pairs(path)


def test_labels_say_whose_model_it_is():
    countries = ["Chile", "Peru"]
    assert split_label("full", countries) == (None, "full")
    assert split_label("Chile/scpo", countries) == ("Chile", "scpo")
    assert split_label("Chile", countries) == ("Chile", "own")
    assert split_label("Kenya/scpo", countries) == ("Kenya", "scpo")
    labels = ["global", "Chile/scpo", "Peru/scpo", "Peru", "Kenya/full"]
    assert own_labels(labels, "Chile", countries) == {"global": "global", "scpo": "Chile/scpo"}
    assert own_labels(labels, "Peru", countries) == {
        "global": "global",
        "scpo": "Peru/scpo",
        "own": "Peru",
    }
    with pytest.raises(ValueError, match="Chile must have one model an arm, but 'scpo' and"):
        own_labels(["scpo", "Chile/scpo"], "Chile", countries)


def test_folds_join_and_may_not_overlap(scored_countries):
    whole = scored_countries(("Chile",))[0]
    first = whole.user < "user-5"
    joined = join_folds([whole.take(first), whole.take(~first)])
    order = np.argsort(joined.pair_id)
    expected = np.argsort(whole.pair_id)
    for label in whole.rewards:
        np.testing.assert_array_equal(joined.rewards[label][order], whole.rewards[label][expected])
    np.testing.assert_array_equal(joined.user[order], whole.user[expected])
    assert len(np.unique(joined.responses)) == len(np.unique(whole.responses)) == len(whole)
    with pytest.raises(ValueError, match="Chile: each pair must come once"):
        join_folds([whole, whole.take(first)])
    with pytest.raises(ValueError, match="Folds must be of one country and the same models"):
        join_folds([whole, scored_countries(("Peru",))[0]])
    with pytest.raises(ValueError, match="Folds must be of one country"):
        join_folds([])


def test_a_part_without_pairs_and_an_unknown_model_are_named(scored_countries):
    scores = scored_countries(("Chile",), parts=("validation",))[0]
    with pytest.raises(ValueError, match="Chile: there must be pairs of test users, but there"):
        scores.in_part("test")
    with pytest.raises(ValueError, match=r"the model must be one of global, .* but got 'filter'"):
        scores.margin("filter")


def test_columns_must_belong_together(scored_countries):
    scores = scored_countries(("Chile",))[0]
    with pytest.raises(ValueError, match=r"Chile: columns of \d+ pairs and rewards of shape"):
        replace(scores, user=scores.user[1:])
    with pytest.raises(ValueError, match=r"Chile: columns of \d+ pairs and rewards of shape"):
        replace(scores, rewards={"global": scores.rewards["global"][:, 0]})
    broken = scores.rewards["global"].copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="Chile: rewards and margins must be finite"):
        replace(scores, rewards={"global": broken})


def test_evaluations_of_folds_are_pooled_by_their_test_users(scored_countries):
    whole = scored_countries(("Chile", "Peru"))
    tested = [each.in_part("test") for each in whole]
    folds = []
    for fold in range(2):
        mine = []
        for each in tested:
            users = np.unique(each.user)[fold::2]
            part = np.where(np.isin(each.user, users), "test", "validation")
            mine.append(replace(each, part=part))
        folds.append(mine)
    pooled = pool_evaluations(folds, "test")
    for before, after in zip(tested, pooled, strict=True):
        assert set(after.part) == {"test"}
        assert sorted(after.pair_id) == sorted(before.pair_id)
        found = dict(zip(after.pair_id, after.margin("global"), strict=True))
        assert found == dict(zip(before.pair_id, before.margin("global"), strict=True))
    assert pool_evaluations([whole], "test") == whole
    with pytest.raises(ValueError, match=r"Chile: folds must judge different test users, but"):
        pool_evaluations([tested, tested], "test")
