import errno
import json
import random
from pathlib import Path

import pyarrow as pa
import pytest

from scpo.data import splits
from scpo.data.interactions import INTERACTIONS_SCHEMA
from scpo.data.splits import SPLIT_FILE, fold_users, keep_split, split_users


def make_table(num_users: dict[str, int], prompt: str = "Sky?") -> pa.Table:
    rows = [
        {
            "interaction_id": f"{country}-{user}-{index}",
            "user_id": f"{country}-{user}",
            "country": country,
            "prompt": prompt,
            "responses": ["a", "b"],
            "scores": [1.0, 2.0],
            "turn": 0,
        }
        for country, count in num_users.items()
        for user in range(count)
        for index in range(2)
    ]
    return pa.Table.from_pylist(rows, schema=INTERACTIONS_SCHEMA)


def count_sides(sides: dict[str, str]) -> tuple[int, int, int]:
    values = list(sides.values())
    return values.count("train"), values.count("validation"), values.count("test")


@pytest.mark.parametrize(
    ("num_users", "expected"),
    [(6, (4, 1, 1)), (20, (14, 3, 3)), (27, (19, 4, 4)), (100, (70, 15, 15))],
)
def test_shares(num_users: int, expected: tuple[int, int, int]) -> None:
    assert count_sides(split_users(make_table({"A": num_users}), ["A"])) == expected


def test_a_small_country_still_has_every_side() -> None:
    sides = split_users(make_table({"A": 3}), ["A"], min_users=3, test_share=0.01)
    assert count_sides(sides) == (1, 1, 1)


def test_split_is_independent_of_row_order_and_other_countries() -> None:
    table = make_table({"A": 12, "B": 9, "C": 2})
    sides = split_users(table, ["A", "B"])
    order = random.Random(0).sample(range(table.num_rows), table.num_rows)
    assert split_users(table.take(order), ["B", "A"]) == sides
    assert len(sides) == 21
    alone = split_users(make_table({"A": 12}), ["A"])
    assert alone == {user: side for user, side in sides.items() if user.startswith("A")}


def test_seed_and_country_change_the_split() -> None:
    table = make_table({"A": 20, "B": 20})
    sides = split_users(table, ["A", "B"])
    assert split_users(table, ["A", "B"], seed=1) != sides
    of_a = [side for user, side in sorted(sides.items()) if user.startswith("A")]
    of_b = [side for user, side in sorted(sides.items()) if user.startswith("B")]
    assert of_a != of_b


def test_split_of_today_is_the_split_of_tomorrow() -> None:
    sides = split_users(make_table({"A": 7}), ["A"])
    held_out = {user: side for user, side in sides.items() if side != "train"}
    assert held_out == {"A-5": "test", "A-2": "validation"}


def test_too_small_countries_are_named_with_their_numbers() -> None:
    with pytest.raises(
        ValueError, match="At least 6 users a country must hold, but B has 5, C has 2"
    ):
        split_users(make_table({"A": 6, "B": 5, "C": 2}), ["A", "B", "C"])


def test_absent_country_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"\['Z'\] must be among the table's countries: \['A'\]"):
        split_users(make_table({"A": 6}), ["A", "Z"])


def test_user_in_two_countries() -> None:
    table = make_table({"A": 6, "B": 6})
    moved = table.slice(0, 1).to_pylist()[0] | {"country": "B"}
    table = pa.concat_tables([table, pa.Table.from_pylist([moved], schema=INTERACTIONS_SCHEMA)])
    with pytest.raises(ValueError, match=r"'A-0' is in \['A', 'B'\]"):
        split_users(table, ["A"])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"test_share": 0.0}, "`0 < validation_share"),
        ({"validation_share": 0.5, "test_share": 0.5}, "but got 0.5 and 0.5"),
        ({"validation_share": float("nan")}, "must hold"),
        ({"min_users": 2}, "`min_users >= 3` must hold, but got min_users=2"),
        ({"validation_share": 0.49, "test_share": 0.5}, "At least one user must be left"),
    ],
)
def test_bad_options(options: dict[str, float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        split_users(make_table({"A": 6}), ["A"], **options)  # type: ignore[arg-type]


def test_folds_test_each_user_once() -> None:
    folds = fold_users(make_table({"A": 11, "B": 4}), "A", num_folds=5)
    assert len(folds) == 5
    tested = [user for fold in folds for user, side in fold.items() if side == "test"]
    validated = [user for fold in folds for user, side in fold.items() if side == "validation"]
    assert sorted(tested) == sorted(validated) == sorted(f"A-{i}" for i in range(11))
    assert sorted(count_sides(fold) for fold in folds) == [
        (6, 2, 3),
        (6, 3, 2),
        (7, 2, 2),
        (7, 2, 2),
        (7, 2, 2),
    ]


def test_bad_folds() -> None:
    table = make_table({"A": 4})
    with pytest.raises(ValueError, match="`num_folds >= 3` must hold"):
        fold_users(table, "A", num_folds=2)
    with pytest.raises(
        ValueError,
        match=r"At least 5 users a country must hold, but A has 4.* split\.min_users of",
    ):
        fold_users(table, "A", num_folds=5)
    with pytest.raises(ValueError, match=r"\['B'\] must be among"):
        fold_users(table, "B", num_folds=3)


def users_of(*names: str, country: str = "Chile") -> pa.Table:
    columns = {"user_id": list(names), "country": [country] * len(names)}
    return pa.table(columns | {"vetted": pa.nulls(len(names), pa.bool_())})


def test_a_kept_split_does_not_move_when_users_come_or_go(tmp_path: Path) -> None:
    names = [f"u{number:03d}" for number in range(40)]
    for start in (6, 13, 20):
        folder = tmp_path / str(start)
        folder.mkdir()
        before = keep_split(folder, users_of(*names[:start]), ["Chile"])
        assert before == split_users(users_of(*names[:start]), ["Chile"])
        for more in (start + 1, start + 2, 40):
            after = keep_split(folder, users_of(*names[:more]), ["Chile"])
            assert before.items() <= after.items()
            before = after
        sides = list(after.values())
        assert sides.count("test") == sides.count("validation") == 6  # 15 % of 40
        trained = {user for user, side in after.items() if side == "train"}
        left = users_of(*sorted(trained)[:3], *sorted(set(after) - trained))
        fewer = keep_split(folder, left, ["Chile"])
        assert fewer.items() <= after.items()


def test_countries_keep_their_own_split_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    names = [f"u{number}" for number in range(8)]
    keep_split(tmp_path, users_of(*names), ["Chile"])
    keep_split(tmp_path, users_of(*names, country="Peru"), ["Peru"])
    file = tmp_path / SPLIT_FILE
    assert set(json.loads(file.read_text())["countries"]) == {"Chile", "Peru"}
    sound = file.read_bytes()
    for position in range(0, len(sound) - 1, 5):
        content = bytearray(sound)
        content[position] ^= 1
        file.write_bytes(content)
        if content.split() != sound.split():
            with pytest.raises(ValueError, match="other bytes than were written"):
                keep_split(tmp_path, users_of(*names), ["Chile"])
    file.write_bytes(sound)
    kept = keep_split(tmp_path, users_of(*names), ["Chile"])
    trained = [user for user, side in kept.items() if side == "train"]
    with pytest.raises(ValueError, match="none is left for test, validation"):
        keep_split(tmp_path, users_of(*trained[:3]), ["Chile"])


def test_a_folder_that_cannot_be_written_gets_the_same_split_again(tmp_path, monkeypatch):
    table = make_table({"Peru": 9})

    def refuse(number):
        def write(path, value):
            raise OSError(number, "no", str(path))

        return write

    for number in (errno.EROFS, errno.EACCES):
        monkeypatch.setattr(splits, "write_json", refuse(number))
        assert keep_split(tmp_path, table, ["Peru"]) == split_users(table, ["Peru"])
    monkeypatch.setattr(splits, "write_json", refuse(errno.ENOSPC))
    with pytest.raises(OSError, match="no"):
        keep_split(tmp_path, table, ["Peru"])
