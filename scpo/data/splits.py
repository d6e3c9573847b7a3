"""Splits by user: every user is in one fold, or on one side of a split.

Users are dealt in a random order that depends on the seed and their ids alone, not on the order
of the rows. The split of a country depends on no other country of the table. A folder of data
keeps its split: when users come, nobody changes sides. Where users are vetted, only they are on
the sides of validation and test.
"""

import errno
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

import numpy as np
import pyarrow as pa

from scpo.files.atomic import hash_values, write_json
from scpo.statistics.user_folds import deal_users, shuffle_users
from scpo.text.json_text import load_json

SIDES = ("train", "validation", "test")
_SHARE = 0.15  # of users that test, and of those that validate
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)  # a folder that others own
SPLIT_FILE = "split.json"  # beside interactions: the side of each user by country


def split_users(
    table: pa.Table,
    countries: Sequence[str],
    *,
    seed: int = 0,
    validation_share: float = _SHARE,
    test_share: float = _SHARE,
    min_users: int = 6,
) -> dict[str, str]:
    """Split the users of some countries into train, validation and test, by user id.

    Of a country's n users, max(1, round(share * n)) go to test and to validation each, all of them
    vetted, the rest to train; users of other countries are left out.

    Raises:
        ValueError: A share not in (0, 1), or both together; `min_users < 3`; a country that is not
            in the table or has too few users (all are named with the numbers), or too few vetted
            ones; a user in two countries.
    """
    if not (validation_share > 0 and test_share > 0 and validation_share + test_share < 1):
        raise ValueError(
            "`0 < validation_share, 0 < test_share, validation_share + test_share < 1` must "
            f"hold, but got {validation_share} and {test_share}."
        )
    if min_users < len(SIDES):
        raise ValueError(f"`min_users >= {len(SIDES)}` must hold, but got min_users={min_users}.")
    sides: dict[str, str] = {}
    vetted = vetted_users(table)
    for country, users in _users_to_split(table, countries, min_users).items():
        shuffled = shuffle_users(users, seed=_country_seed(country, seed))
        able = [user for user in shuffled if user in vetted]
        num_test = max(1, round(test_share * len(users)))
        num_held_out = num_test + max(1, round(validation_share * len(users)))
        _check_sides(country, len(users), len(able), num_held_out)
        sides |= dict.fromkeys(shuffled, "train")
        sides |= dict.fromkeys(able[:num_held_out], "validation")
        sides |= dict.fromkeys(able[:num_test], "test")
    return sides


def _check_sides(country: str, num_users: int, num_vetted: int, num_held_out: int) -> None:
    """Refuse to hold out users that there are not."""
    if num_held_out >= num_users:
        raise ValueError(
            f"At least one user must be left to train on, but of {num_users} users in "
            f"{country!r} {num_held_out} go to validation and test. Lower the shares."
        )
    if num_held_out > num_vetted:
        raise ValueError(
            f"{country}: the {num_held_out} users of validation and test must be vetted, but "
            f"{num_vetted} of {num_users} are. Vet more, or lower the shares."
        )


def vetted_users(table: pa.Table) -> set[str]:
    """Return the users who may validate and test: all but those who are not vetted."""
    columns = table["user_id"].to_pylist(), table["vetted"].to_pylist()
    unvetted = {user for user, vetted in zip(*columns, strict=True) if vetted is False}
    return set(columns[0]) - unvetted


def fold_users(
    table: pa.Table, country: str, *, num_folds: int, seed: int = 0
) -> list[dict[str, str]]:
    """Split the users of one country into 3 or more folds that are the test side in turn.

    Returns:
        One split a fold, as `split_users` returns it: fold i tests, fold i + 1 (the first after
        the last) validates, the others train. Users who are not vetted are in no fold: they train.

    Raises:
        ValueError: Fewer than 3 folds, a country that is not in the table or has fewer (vetted)
            users than folds, or a user in two countries.
    """
    if num_folds < len(SIDES):
        raise ValueError(
            f"`num_folds >= {len(SIDES)}` must hold (one tests, one validates), but got "
            f"num_folds={num_folds}."
        )
    users = _users_to_split(table, [country], num_folds)[country]
    vetted = vetted_users(table)
    able = [user for user in users if user in vetted]
    if len(able) < num_folds:
        raise ValueError(
            f"{country}: {num_folds} folds need as many vetted users, but {len(able)} of "
            f"{len(users)} are. Vet more, or take fewer folds."
        )
    folds = deal_users(np.array(able), num_folds, seed=_country_seed(country, seed)).tolist()
    roles = {0: "test", 1: "validation"}
    return [
        dict.fromkeys(users, "train")
        | {
            user: roles.get((own - fold) % num_folds, "train")
            for user, own in zip(able, folds, strict=True)
        }
        for fold in range(num_folds)
    ]


def read_split(file: Path) -> dict[str, str]:
    """Return the part of each user, as a run's `split.json` has it.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        parts = dict(load_json(file.read_bytes()))
        whole = set(parts.values()) <= set(SIDES)
    except (ValueError, TypeError):
        whole = False
    if not whole:
        raise ValueError(f"{file} is damaged, so it does not say who is held out. Restore it.")
    return parts


def split_file(data: Path) -> Path:
    """Return where the split of a prepared folder, or of its file of interactions, is kept."""
    return (data if data.is_dir() else data.parent) / SPLIT_FILE


def keep_split(folder: Path, table: pa.Table, countries: Sequence[str]) -> dict[str, str]:
    """Return the split of some countries that a folder keeps, that of `split_users` at first.

    Users who came since go where a side has less than its share, if they are vetted, the others to
    train.

    Raises:
        ValueError: As of `split_users`; the folder's file is damaged; users have gone, and a side
            has none left; or users who validate or test are not vetted any more.
    """
    file = split_file(folder)
    kept = _read_kept(file)
    before = json.dumps(kept)
    parts: dict[str, str] = {}
    vetted = vetted_users(table)
    for country, users in _users_to_split(table, countries, len(SIDES)).items():
        sides = kept.get(country) or split_users(table, [country])
        kept[country] = _add_users(sides, users, vetted)
        parts |= {user: kept[country][user] for user in users}
        if lost := set(SIDES) - {parts[user] for user in users}:
            raise ValueError(
                f"{file}: of the users of {country} none is left for {', '.join(sorted(lost))}. "
                "Prepare these data into another folder, which gets its own split."
            )
        if bad := [user for user in users if parts[user] != "train" and user not in vetted]:
            raise ValueError(
                f"{file}: {len(bad)} users of {country} validate or test, but are not vetted now. "
                "Prepare these data into another folder, which gets its own split."
            )
    if json.dumps(kept) != before:
        try:
            write_json(file, {"sum": hash_values(kept)[:16], "countries": kept})
        except OSError as error:
            if error.errno not in _READ_ONLY:  # else the same split is made again
                raise
    return parts


def _add_users(sides: Mapping[str, str], users: Sequence[str], vetted: Set[str]) -> dict[str, str]:
    """Return the sides of known users, and of those of `users` that are new."""
    known = dict.fromkeys((user for user in users if user not in vetted), "train") | dict(sides)
    new = shuffle_users([user for user in users if user not in known], seed=0)
    added: dict[str, str] = {}
    for side in ("test", "validation"):
        have = sum(sides.get(user) == side for user in users)
        lacks = max(0, max(1, round(_SHARE * len(users))) - have)
        added |= dict.fromkeys(new[:lacks], side)
        new = new[lacks:]
    return {**known, **added, **dict.fromkeys(new, "train")}


def _read_kept(file: Path) -> dict[str, dict[str, str]]:
    if not file.is_file():
        return {}
    try:
        held = load_json(file.read_bytes())
        countries = held["countries"]
        whole = held["sum"] == hash_values(countries)[:16] and all(
            side in SIDES for sides in countries.values() for side in dict(sides).values()
        )
        json.dumps(countries, ensure_ascii=False).encode("utf-8")  # no half of a pair
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise ValueError(
            f"{file} has other bytes than were written, so it does not say who is held out. "
            "Prepare the data into another folder, and train anew."
        )
    return dict(countries)


def name_users(users: Iterable[str]) -> list[str]:
    """Return a hash of each different user, sorted: it tells users apart and names nobody."""
    return sorted({hashlib.sha256(user.encode()).hexdigest()[:16] for user in users})


def _users_to_split(
    table: pa.Table, countries: Sequence[str], min_users: int
) -> dict[str, list[str]]:
    """Return the sorted users of each of `countries`, after checking that they can be split."""
    users_of: dict[str, set[str]] = defaultdict(set)
    countries_of: dict[str, set[str]] = defaultdict(set)
    columns = table["user_id"].to_pylist(), table["country"].to_pylist()
    for user, country in zip(*columns, strict=True):
        users_of[country].add(user)
        countries_of[user].add(country)
    absent = [country for country in countries if country not in users_of]
    if absent:
        raise ValueError(f"{absent} must be among the table's countries: {sorted(users_of)}.")
    small = {name: len(users_of[name]) for name in countries if len(users_of[name]) < min_users}
    if small:
        numbers = ", ".join(f"{name} has {count}" for name, count in small.items())
        raise ValueError(
            f"At least {min_users} users a country must hold, but {numbers}. Leave these "
            "countries out, or lower split.min_users of a sweep."
        )
    for user in sorted(user for country in countries for user in users_of[country]):
        if len(countries_of[user]) > 1:
            raise ValueError(
                f"A user must live in one country, but {user!r} is in "
                f"{sorted(countries_of[user])}."
            )
    return {country: sorted(users_of[country]) for country in countries}


def _country_seed(country: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\x1f{country}".encode()).digest())
