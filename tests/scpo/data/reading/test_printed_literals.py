import math
from collections import defaultdict

import pytest

from scpo.data.reading.bad_rows import RowFault
from scpo.data.reading.printed_literals import parse_printed


def test_what_was_printed_comes_back() -> None:
    shares = defaultdict(list, {"S. Africa": [0.25, 0.75], "Cote d'Ivoire": [1e-3, 0.999]})
    assert parse_printed(repr(shares), "x") == dict(shares)
    assert parse_printed(repr(dict(shares)), "x") == dict(shares)
    assert parse_printed(repr(defaultdict(None, {"a": 1})), "x") == {"a": 1}
    texts = ["Don't know", 'Say "no"', "a, (b) {c}", 0.0, -1]
    assert parse_printed(repr(texts), "x") == texts


def test_numbers_that_are_not_finite() -> None:
    value, high, low = parse_printed("[nan, inf, -inf]", "x")
    assert math.isnan(value)
    assert (high, low) == (math.inf, -math.inf)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch x')",
        "[().__class__]",
        "[x for x in (1,)]",
        "defaultdict(<class 'list'>, {'a': f(1)})",
        "defaultdict(<class 'list'>, {'a': [1]}) + 1",
        "{'a': nam}",
        "{[1]: 2}",
        "{'a': [0.5, 0.5",
        "",
        "[" * 5000 + "]" * 5000,
    ],
)
def test_what_is_no_literal_is_refused(text: str) -> None:
    with pytest.raises(RowFault, match="A printed list or dict must stand here") as caught:
        parse_printed(text, "options")
    assert (caught.value.reason, caught.value.field) == ("invalid_literal", "options")
    assert " object at 0x" not in caught.value.message
