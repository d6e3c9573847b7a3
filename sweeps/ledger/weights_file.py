"""The weights of a run's users as `user_weights.csv`: what the plan and the page show.

Only ids of users are in it, no text. The least weights may be of a minority, not of careless
users: `scpo.method.user_weights.USER_WARNING` stands wherever they are shown.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path

from scpo.files.csv_files import write_csv

WEIGHTS_FILE = "user_weights.csv"
NUM_BINS = 10


@dataclass(frozen=True)
class UserWeight:
    """One training user of a country."""

    country: str
    user: str  # id
    pairs: int  # training pairs
    agreement: float  # with the other users, z_u
    weight: float  # in the arm `user`, 0..1


def write_user_weights(rows: Sequence[UserWeight], run: Path) -> None:
    """Write the users of all countries into a run's folder, whole or not at all."""
    names = [field.name for field in fields(UserWeight)]
    write_csv(names, [asdict(row) for row in rows], run / WEIGHTS_FILE)


def read_user_weights(run: Path) -> dict[str, list[UserWeight]]:
    """Return a run's users by country, in the order of the file; none where it has no such file.

    Raises:
        ValueError: A line is not of `write_user_weights`; the message names file and line.
    """
    file = run / WEIGHTS_FILE
    found: dict[str, list[UserWeight]] = {}
    if not file.is_file():
        return found
    number = 1
    try:
        with file.open(encoding="utf-8", newline="") as handle:
            for row in csv.DictReader(handle):
                number += 1
                user = _user_of(row)
                found.setdefault(user.country, []).append(user)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{file}:{number}: not a user's weight ({error!r}).") from error
    return found


def _user_of(row: Mapping[str, str]) -> UserWeight:
    numbers = (int(row["pairs"]), float(row["agreement"]), float(row["weight"]))
    if not (isfinite(numbers[1]) and 0 <= numbers[2] <= 1):
        raise ValueError("agreement must be finite, and the weight in 0..1")
    return UserWeight(row["country"], row["user"], *numbers)


def count_weights(rows: Sequence[UserWeight]) -> tuple[int, ...]:
    """Return the users by weight, in ten bins of equal width from 0 to 1; 1 is in the last."""
    counts = [0] * NUM_BINS
    for row in rows:
        counts[min(int(row.weight * NUM_BINS), NUM_BINS - 1)] += 1
    return tuple(counts)
