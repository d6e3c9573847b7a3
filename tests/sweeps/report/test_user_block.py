"""The weights of users as a file, as a block of the page and in the terminal."""

from pathlib import Path

import pytest

from scpo.method.user_weights import USER_WARNING
from sweeps.ledger.weights_file import (
    UserWeight,
    count_weights,
    read_user_weights,
    write_user_weights,
)
from sweeps.report.user_block import USERS_LEAD, user_block

USERS = [
    UserWeight("Chile", "u<1>", 12, -2.0, 0.25),
    UserWeight("Chile", "u2", 6, 0.5, 1.0),
    UserWeight("Mexico", "u3", 6, -0.5, 0.5),
]


def test_the_file_is_read_as_written(tmp_path: Path) -> None:
    assert read_user_weights(tmp_path) == {}
    write_user_weights(USERS, tmp_path)
    assert read_user_weights(tmp_path) == {"Chile": USERS[:2], "Mexico": USERS[2:]}


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    write_user_weights(USERS, tmp_path)
    file = tmp_path / "user_weights.csv"
    file.write_text(file.read_text().replace("12,-2", "twelve,-2"))
    with pytest.raises(ValueError, match=r"user_weights.csv:2: not a user's weight"):
        read_user_weights(tmp_path)


def test_weights_by_bin() -> None:
    assert count_weights(USERS) == (0, 0, 1, 0, 0, 1, 0, 0, 0, 1)


def test_the_block_counts_users_names_none_and_warns() -> None:
    block = user_block({"Chile": USERS[:2], "Mexico": USERS[2:]})
    assert block is not None
    assert USER_WARNING in USERS_LEAD
    assert "user_weights.csv" in USERS_LEAD
    assert not any(name in block for name in ("u&lt;1", "u2", "u3"))  # the page is sent around
    assert block.count("<rect") == 20
    assert "1 user of weight 0.2 to 0.3" in block
    assert user_block({}) is None
