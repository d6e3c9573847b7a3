"""Checks of single fields: a row and a field name come in, the clean value goes out.

Texts leave `tidy`, so that equal texts are equal strings.
Everything else raises `RowFault` with the reason, the field and what must hold.
"""

import math
import re
import reprlib
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from scpo.data.reading.bad_rows import RowFault

MIN_SCORE = 1
MAX_SCORE = 100
MAX_RESPONSES = 128  # of an interaction with scores: every two make a pair
MAX_MARGIN = 1e4  # reward differences are of the order of 1: what is beyond is no margin
_MAX_EXACT = 2**53  # beyond it a float has lost digits of an identifier
_GAPS = frozenset({"nan", "null", "none", "<na>"})  # of a table, printed
_WHOLE_FLOAT = re.compile(r"-?\d+\.0+")
EMPTY_LITERAL = "EMPTY STRING"  # what PRISM stores where a model answered nothing


def same_form(text: str) -> str:
    """Return a text in NFC with line ends of LF, however it was typed."""
    return unicodedata.normalize("NFC", text).replace("\r\n", "\n")


def tidy(text: str) -> str:
    """Return a text in the one form, without white space around it: equal ones are equal."""
    return same_form(text).strip()


def clean_text(value: object, field: str) -> str:
    """Return a `tidy` text.

    Raises:
        RowFault: Not a string, a NUL, a lone surrogate, U+FFFD, no visible character, or the
            literal "EMPTY STRING".
    """
    if not isinstance(value, str):
        raise RowFault("wrong_type", f"A text must stand here, got {reprlib.repr(value)}.", field)
    for reason, position in (
        ("nul_character", value.find("\0")),
        ("lone_surrogate", _find_surrogate(value)),
        ("replacement_character", value.find("\ufffd")),
    ):
        if position >= 0:
            raise RowFault(
                reason,
                f"Whole characters must stand here, got U+{ord(value[position]):04X} "
                f"at character {position}.",
                field,
            )
    text = tidy(value)
    if text == EMPTY_LITERAL or not any(_is_visible(character) for character in text):
        raise RowFault("empty_text", f"Visible text must stand here, got {value[:40]!r}.", field)
    return text


def take_text(row: Mapping[str, Any], field: str) -> str:
    """Return `row[field]` as a clean text; see `clean_text`.

    Raises:
        RowFault: The field is absent or null, or `clean_text` refuses it.
    """
    return clean_text(take_given(row, field), field)


def is_absent(value: object) -> bool:
    """Return whether a field says nothing: null, an empty text, or the NaN of a table's gap."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def take_id(row: Mapping[str, Any], field: str) -> str:
    """Return an identifier as a string; whole numbers are accepted, 1.0 and "1.0" are "1".

    Raises:
        RowFault: The field is absent, null or the "nan" of a table's gap, or neither a whole
            number nor a usable text.
    """
    value = take_given(row, field)
    if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_EXACT:
        value = int(value)
    if isinstance(value, Decimal):  # the whole numbers of many databases
        value = f"{value:f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = "nan" if value != value else clean_text(value, field)
    if text.lower() in _GAPS:
        raise RowFault("missing_field", f"An identifier must stand here, got {text!r}.", field)
    return text.partition(".")[0] if _WHOLE_FLOAT.fullmatch(text) else text


def take_turn(row: Mapping[str, Any], field: str) -> int:
    """Return the turn of a conversation, 0 for the first.

    Raises:
        RowFault: The field is absent or null, or no whole number in 0..2**31-1.
    """
    value = take_given(row, field)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise RowFault(
            "wrong_type", f"A whole number >= 0 must stand here, got {reprlib.repr(value)}.", field
        )
    return value


def take_score(row: Mapping[str, Any], field: str) -> float:
    """Return a score in 1..100.

    Raises:
        RowFault: The field is absent or null, not a number, not finite, or out of range.
    """
    value = take_given(row, field)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise RowFault("wrong_type", f"A number must stand here, got {value!r:.40}.", field)
    if isinstance(value, float) and not math.isfinite(value):
        raise RowFault("score_not_finite", f"A score must be finite, got {value}.", field)
    if not MIN_SCORE <= value <= MAX_SCORE:
        raise RowFault(
            "score_out_of_range",
            f"`{MIN_SCORE} <= {field} <= {MAX_SCORE}` must hold, got {reprlib.repr(value)}.",
            field,
        )
    return float(value)


def take_margin(row: Mapping[str, Any], field: str) -> float | None:
    """Return the margin of a pair, None where the field is absent, null or an empty text.

    Either sign is good. A text that holds a number is one: a CSV file has no other numbers.

    Raises:
        RowFault: Not a number, not finite, or beyond `MAX_MARGIN` either way.
    """
    value = row.get(field)
    if value is None or value == "":
        return None
    try:
        number = float(value) if isinstance(value, str | Decimal) else value
    except ValueError:
        number = None
    if not isinstance(number, int | float) or isinstance(number, bool):
        message = f"A number must stand here, got {reprlib.repr(value)}."
        raise RowFault("wrong_type", message, field)
    if not abs(number) <= MAX_MARGIN:  # also refuses NaN
        raise RowFault(
            "margin_out_of_range",
            f"`|{field}| <= {MAX_MARGIN:g}` must hold, got {reprlib.repr(value)}.",
            field,
        )
    return float(number) + 0.0  # -0.0 becomes 0.0: equal margins are equal bytes


def take_given(row: Mapping[str, Any], field: str) -> Any:
    """Return `row[field]`.

    Raises:
        RowFault: It is absent or null.
    """
    value = row.get(field)
    if value is None:
        raise RowFault("missing_field", "The field must be there and not be null.", field)
    return value


def _find_surrogate(text: str) -> int:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return -1


def _is_visible(character: str) -> bool:
    return unicodedata.category(character) not in {"Cc", "Cf", "Zs", "Zl", "Zp"}
