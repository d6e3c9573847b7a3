import pytest

from scpo.text.counts import format_below, format_count, format_number


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [
        (0, "pair", "0 pairs"),
        (1, "test user", "1 test user"),
        (1440, "pair", "1,440 pairs"),
        (1, "country", "1 country"),
        (2, "country", "2 countries"),
    ],
)
def test_a_count_agrees_with_its_noun(number, noun, words):
    assert format_count(number, noun) == words


@pytest.mark.parametrize(
    ("number", "digits", "words"),
    [
        (0.0, 4, "0"),
        (0.61834, 2, "0.62"),
        (9999.6, 4, "10,000"),
        (48_000.0, 4, "48,000"),
        (123_456.7, 4, "123,457"),
        (123.4, 2, "123"),
        (2e-05, 4, "2e-05"),
    ],
)
def test_a_large_number_has_every_digit_before_the_point(number, digits, words):
    assert format_number(number, digits) == words


@pytest.mark.parametrize(
    ("value", "whole", "words"),
    [(0.6183, 1, "0.62"), (0.99996, 1, "0.99996"), (1.0, 1, "1"), (71.3, 100, "71"),
     (99.7, 100, "99.7"), (99.996, 100, "99.996"), (100.0, 100, "100")],
)  # fmt: skip
def test_what_is_below_a_whole_never_reads_as_the_whole(value, whole, words):
    assert format_below(value, 2, whole=whole) == words
