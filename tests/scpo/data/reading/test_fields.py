from decimal import Decimal
from typing import Any

import pytest

from scpo.data.reading.bad_rows import RowFault
from scpo.data.reading.fields import (
    clean_text,
    take_id,
    take_margin,
    take_score,
    take_text,
    take_turn,
)


def test_text_leaves_in_nfc_and_stripped() -> None:
    assert clean_text("  Cafe\u0301\n", "x") == "Caf\u00e9"


@pytest.mark.parametrize(
    ("value", "reason", "match"),
    [
        (None, "missing_field", "not be null"),
        (3, "wrong_type", "A text must stand here, got 3"),
        (["a"], "wrong_type", "A text must"),
        ("", "empty_text", "Visible text"),
        (" \n\t", "empty_text", "Visible text"),
        ("\u200b\x07\u00a0", "empty_text", "Visible text"),
        ("EMPTY STRING", "empty_text", "EMPTY STRING"),
        (" EMPTY STRING ", "empty_text", "EMPTY STRING"),
        ("a\0b", "nul_character", r"U\+0000 at character 1"),
        ("ab\udc80", "lone_surrogate", r"U\+DC80 at character 2"),
        ("\ufffd", "replacement_character", r"U\+FFFD at character 0"),
    ],
)
def test_unusable_text_is_refused(value: Any, reason: str, match: str) -> None:
    with pytest.raises(RowFault, match=match) as caught:
        take_text({"x": value}, "x")
    assert (caught.value.reason, caught.value.field) == (reason, "x")


def test_absent_field_is_refused() -> None:
    with pytest.raises(RowFault, match="must be there") as caught:
        take_text({}, "x")
    assert caught.value.reason == "missing_field"


def test_ids_are_texts_or_whole_numbers() -> None:
    assert take_id({"u": 17}, "u") == "17"
    assert take_id({"u": " a "}, "u") == "a"
    with pytest.raises(RowFault, match="A text must"):
        take_id({"u": True}, "u")
    with pytest.raises(RowFault, match="Visible"):
        take_id({"u": ""}, "u")


@pytest.mark.parametrize("value", [1, 100, 50.5])
def test_score_in_range(value: float) -> None:
    assert take_score({"s": value}, "s") == float(value)


@pytest.mark.parametrize("value", [1, 1.0, "1", "1.0", " 1.00 ", Decimal("1.00")])
def test_whole_numbers_as_identifiers_are_one(value: object) -> None:
    assert take_id({"u": value}, "u") == "1"
    assert take_id({"u": Decimal("1E+30")}, "u") == f"1{30 * '0'}"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        *((None, "missing_field"), (float("nan"), "missing_field"), ("NaN", "missing_field")),
        *(("<NA>", "missing_field"), ("None", "missing_field")),
        *((1.5, "wrong_type"), (2.0**60, "wrong_type"), (float("inf"), "wrong_type")),
    ],
)
def test_bad_identifier_is_refused(value: object, reason: str) -> None:
    with pytest.raises(RowFault, match="must") as caught:
        take_id({"u": value}, "u")
    assert (caught.value.reason, caught.value.field) == (reason, "u")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "missing_field"),
        ("50", "wrong_type"),
        (True, "wrong_type"),
        (float("nan"), "score_not_finite"),
        (float("inf"), "score_not_finite"),
        (0, "score_out_of_range"),
        (100.5, "score_out_of_range"),
        (10**400, "score_out_of_range"),
    ],
)
def test_bad_score_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(RowFault, match="must") as caught:
        take_score({"s": value}, "s")
    assert caught.value.reason == reason


@pytest.mark.parametrize("value", [-1, 0.0, True, "0", 2**31])
def test_bad_turn_is_refused(value: Any) -> None:
    with pytest.raises(RowFault, match="A whole number >= 0"):
        take_turn({"t": value}, "t")
    assert take_turn({"t": 2}, "t") == 2


@pytest.mark.parametrize(
    ("row", "margin"),
    [
        ({}, None),
        ({"m": None}, None),
        ({"m": ""}, None),
        ({"m": 0}, 0.0),
        ({"m": -1.5}, -1.5),
        ({"m": "0.5"}, 0.5),  # of a CSV file
        ({"m": Decimal("0.50")}, 0.5),
        ({"m": 10_000}, 1e4),
    ],
)
def test_a_margin_may_be_absent_and_of_either_sign(
    row: dict[str, Any], margin: float | None
) -> None:
    assert take_margin(row, "m") == margin


def test_equal_margins_are_equal_to_the_bit() -> None:
    assert str(take_margin({"m": -0.0}, "m")) == "0.0"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (True, "wrong_type"),
        ([1.0], "wrong_type"),
        ("much", "wrong_type"),
        (" ", "wrong_type"),
        (float("nan"), "margin_out_of_range"),
        ("nan", "margin_out_of_range"),
        (float("-inf"), "margin_out_of_range"),
        (10_001, "margin_out_of_range"),
        (10**400, "margin_out_of_range"),
    ],
)
def test_bad_margin_is_refused(value: Any, reason: str) -> None:
    match = r"A number must stand here|`\|m\| <= 10000` must hold"
    with pytest.raises(RowFault, match=match) as caught:
        take_margin({"m": value}, "m")
    assert (caught.value.reason, caught.value.field) == (reason, "m")
