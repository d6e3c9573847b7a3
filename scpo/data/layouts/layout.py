"""What a layout is, and the rows that every layout becomes.

A row of a data set gives no pair (a tie), one, or several: `make_pair` rows of `prompt`, `chosen`
and `rejected`, whose texts and messages `scpo.data.reading.trl_columns` takes apart and checks.
"""

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeAlias

from scpo.data.reading.bad_rows import RowFault
from scpo.data.reading.fields import MAX_RESPONSES, take_given

RawRow: TypeAlias = Mapping[str, Any]
NumberedRows: TypeAlias = Iterable[tuple[int, dict[str, Any]]]

SCORES = ("score_chosen", "score_rejected")  # in a pair whose layout scores both responses
FLAGS = {"1": True, "true": True, "0": False, "false": False}  # choices of `take_choice`
RATED = "responses of this judgement"  # in a row that stands for several, of which each has one


@dataclass(frozen=True)
class Layout:
    """One layout of preference rows.

    Attributes:
        name: How it is asked for, such as "nectar".
        needs: Columns that all of its rows have, and by which it is recognised.
        read_pairs: Returns the pairs of a row, none for a tie; raises RowFault.
        reads: Further columns that it reads.
        rate: Returns the response of a row and its score, where rows of a prompt, user and
            country belong together; `read_pairs` then finds all of them under `RATED`.
        user: Its own column of users, "" where it has none.
        country: Its own column of countries, "" where it has none.
        is_only_named: Never recognised: another layout with these columns is the usual one.
    """

    name: str
    needs: frozenset[str]
    read_pairs: Callable[[RawRow], list[dict[str, Any]]]
    reads: frozenset[str] = frozenset()
    rate: Callable[[RawRow], tuple[Any, float]] | None = None
    user: str = ""
    country: str = ""
    is_only_named: bool = False


def make_pair(
    prompt: Any, chosen: Any, rejected: Any, scores: tuple[float, float] | None = None
) -> dict[str, Any]:
    """Return the row of one pair; `scores` are those of chosen and rejected.

    A prompt of None is what chosen and rejected begin with.
    """
    row = {} if prompt is None else {"prompt": prompt}
    row |= {"chosen": chosen, "rejected": rejected}
    return row | (dict(zip(SCORES, scores, strict=True)) if scores else {})


def make_rated_pairs(prompt: Any, rated: Iterable[tuple[Any, float]]) -> list[dict[str, Any]]:
    """Return a pair of every two responses with different scores, the higher one chosen.

    Raises:
        RowFault: The responses are more than `MAX_RESPONSES`.
    """
    pairs, listed = [], list(rated)
    if len(listed) > MAX_RESPONSES:
        message = f"At most {MAX_RESPONSES} responses with scores must be in a row or of a prompt"
        raise RowFault("too_many_responses", f"{message}, got {len(listed):,}.")
    for (first, high), (second, low) in combinations(listed, 2):
        if low > high:
            first, second, high, low = second, first, low, high
        if high > low:
            pairs.append(make_pair(prompt, first, second, (high, low)))
    return pairs


def take_number(row: RawRow, field: str) -> float:
    """Return a finite number; a text that holds one is one.

    Raises:
        RowFault: The field is absent or no finite number.
    """
    value = row.get(field)
    if value is None or value == "":
        raise RowFault("missing_field", "A number must stand here.", field)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        message = f"A number must stand here, got {reprlib.repr(value)}."
        raise RowFault("wrong_type", message, field) from None
    if not math.isfinite(number):
        raise RowFault("score_not_finite", f"A score must be finite, got {value}.", field)
    return number


def take_items(row: RawRow, field: str) -> list[RawRow]:
    """Return a list of objects.

    Raises:
        RowFault: The field is absent or something else.
    """
    value = row.get(field)
    if value is None:
        raise RowFault("missing_field", "A list of objects must stand here.", field)
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        message = f"A list of objects must stand here, got {reprlib.repr(value)}."
        raise RowFault("wrong_type", message, field)
    return value


def take_choice(row: RawRow, field: str, choices: Mapping[str, Any]) -> Any:
    """Return what a field's value stands for; the choices are in lower case.

    A number or a truth value is what its text is: a CSV file has texts only.

    Raises:
        RowFault: The field is absent, or its value is none of the choices.
    """
    value = take_given(row, field)
    key = str(value).strip().lower().removesuffix(".0")
    if key not in choices:
        message = f"One of {', '.join(choices)} must stand here, got {reprlib.repr(value)}."
        raise RowFault("wrong_type", message, field)
    return choices[key]
