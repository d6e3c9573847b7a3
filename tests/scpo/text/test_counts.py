import pytest

from scpo.text.counts import format_count


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
