"""Vetted users, from a source to the sides of a split."""

import json

import pytest

from scpo.config import DataConfig, SyntheticConfig, parse_config
from scpo.data.interactions import read_interactions
from scpo.data.sources.prepare import hash_sources, prepare_source
from scpo.data.sources.synthetic import make_synthetic
from scpo.data.splits import fold_users, keep_split, split_users, vetted_users


def pair(user, number=0, country="Chile", **more):
    return {
        "prompt": f"Sky {number}?",
        "chosen": "blue",
        "rejected": "red",
        "user": user,
        "country": country,
        **more,
    }


def prepare(rows, folder, **vetted):
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"source": "pairs", "path": str(file)}
    if vetted:
        given["vetted"] = vetted
    config = parse_config(DataConfig, given, "test")
    return prepare_source(config, folder / "data"), read_interactions(folder / "data")


def users_of(table):
    return {
        user: vetted
        for user, vetted in zip(
            table["user_id"].to_pylist(), table["vetted"].to_pylist(), strict=True
        )
    }


def test_a_column_vets_users_of_whom_all_rows_say_so(tmp_path):
    rows = [
        pair("a", ok=True),
        pair("b", ok="no"),
        pair("c", ok="1"),
        pair("c", 1, ok=0),
        pair("d"),
        pair("e", ok="perhaps"),
        pair("f", ok=1.0, country="Peru"),
    ]
    summary, table = prepare(rows, tmp_path, column="ok")
    found = table.filter(table["vetted"])["user_id"].to_pylist()
    assert summary.rejected == {"vetted_not_said": 1}
    assert summary.options["columns"]["vetted"] == "ok"
    assert {"a", "f"} <= set(found)
    assert vetted_users(table) == {"a", "f"}
    assert summary.vetted == {"Chile": 1, "Peru": 1}


def test_without_vetting_all_may_judge(tmp_path):
    summary, table = prepare([pair("a"), pair("b")], tmp_path)
    assert summary.vetted is None
    assert users_of(table) == {"a": None, "b": None}
    assert vetted_users(table) == {"a", "b"}


def test_a_file_vets_users_and_counts_among_what_was_read(tmp_path):
    ids = tmp_path / "ids.txt"
    ids.write_text("a\n\n c \n")
    summary, table = prepare([pair("a"), pair("b"), pair("c")], tmp_path, file=str(ids))
    assert users_of(table) == {"a": True, "b": False, "c": True}
    assert str(ids) in summary.files
    config = {"source": "pairs", "path": str(tmp_path / "pairs.jsonl"), "vetted": {"file": ids}}
    config["vetted"] = {"file": str(ids)}
    assert str(ids) in hash_sources(parse_config(DataConfig, config, "test"))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("a\nx\ny\n", r"ids.txt names 2 of 3 users that have no usable interaction .*'x'"),
        ("\n", r"must name vetted users, one id a line, but names nobody"),
        (None, r"No file of vetted users at .*ids.txt"),
    ],
)
def test_a_file_that_says_nothing_right_is_refused(named, message, tmp_path):
    ids = tmp_path / "ids.txt"
    if named is not None:
        ids.write_text(named)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        prepare([pair("a")], tmp_path, file=str(ids))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": "pairs", "vetted": {}}, "set either vetted.column or vetted.file"),
        ({"source": "prism", "vetted": {"column": "x"}}, "belongs to the source `pairs`"),
        ({"source": "prepared", "vetted": {"file": "x"}}, "prepared data have it already"),
        ({"source": "synthetic", "vetted": {"file": "x"}}, "vetted_users_per_country"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        parse_config(DataConfig, given, "test")


SIZES = {"num_countries": 2, "users_per_country": 20, "interactions_per_user": 1}


@pytest.fixture(scope="module")
def world():
    config = {**SIZES, "vetted_users_per_country": 12, "outlier_share": 0.3}
    return make_synthetic(SyntheticConfig(**config))


def test_synthetic_vetted_users_come_on_top_and_are_typical(world):
    plain = make_synthetic(SyntheticConfig(**SIZES, outlier_share=0.3))
    kinds, vetted = world.truth["user_kinds"], vetted_users(world.interactions)
    assert len(vetted) == 24
    assert {kinds[user] for user in vetted} == {"typical"}
    assert sum(kinds[user] == "outlier" for user in kinds) == 12
    first = plain.interactions["user_id"].to_pylist()[:20]
    assert world.interactions["user_id"].to_pylist()[:20] == first
    assert world.interactions["scores"][:20] == plain.interactions["scores"][:20]
    assert set(plain.interactions["vetted"].to_pylist()) == {None}


def test_only_vetted_users_validate_and_test(world):
    shares = {"validation_share": 3 / 32, "test_share": 9 / 32}
    split = split_users(world.interactions, ["Arvandia"], **shares)
    vetted = vetted_users(world.interactions)
    held_out = {user for user, side in split.items() if side != "train"}
    assert held_out == {user for user in vetted if user.startswith("arvandia")}
    assert sorted(split.values()).count("validation") == 3
    message = r"Arvandia: the 13 users of validation and test must be vetted, but 12 of 32 are"
    with pytest.raises(ValueError, match=message):
        split_users(world.interactions, ["Arvandia"], validation_share=4 / 32, test_share=9 / 32)


def test_folds_test_each_vetted_user_once_and_always_train_on_the_others(world):
    folds = fold_users(world.interactions, "Belmora", num_folds=4)
    vetted = {user for user in vetted_users(world.interactions) if user.startswith("bel")}
    tested = [user for split in folds for user, side in split.items() if side == "test"]
    assert sorted(tested) == sorted(vetted)
    for split in folds:
        assert all(side == "train" for user, side in split.items() if user not in vetted)
        assert len(split) == 32
    with pytest.raises(ValueError, match="Belmora: 13 folds need as many vetted users, but 12"):
        fold_users(world.interactions, "Belmora", num_folds=13)


def test_a_kept_split_gives_new_sides_to_vetted_users_only(world, tmp_path):
    table = world.interactions
    early = table.filter([int(user[-3:]) % 2 == 0 for user in table["user_id"].to_pylist()])
    keep_split(tmp_path, early, ["Arvandia"])
    split = keep_split(tmp_path, table, ["Arvandia"])
    held_out = {user for user, side in split.items() if side != "train"}
    assert held_out <= vetted_users(table)
    assert len(held_out) == 10  # 15 % of 32 on each side
    swapped = table.set_column(
        table.schema.get_field_index("vetted"),
        "vetted",
        [[not vetted for vetted in table["vetted"].to_pylist()]],
    )
    with pytest.raises(ValueError, match="10 users of Arvandia validate or test, but are not"):
        keep_split(tmp_path, swapped, ["Arvandia"])
