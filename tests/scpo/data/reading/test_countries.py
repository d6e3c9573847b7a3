import pytest

from scpo.data.reading.countries import COUNTRY_ALIASES, canonical_country


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Korea, Republic of", "South Korea"),
        ("S. Korea", "South Korea"),
        ("South_Korea", "South Korea"),
        ("S. Africa", "South Africa"),
        ("Britain", "United Kingdom"),
        ("Great Britain", "United Kingdom"),
        ("UK", "United Kingdom"),
        ("US", "United States"),
        ("united  states of AMERICA ", "United States"),
        ("Czech Rep.", "Czechia"),
        ("Viet Nam", "Vietnam"),
        ("Türkiye", "Turkey"),
        ("Tu\u0308rkiye", "Turkey"),
        ("India (Current national sample)", "India"),
        ("India (Non-national sample)", "India (Non-national sample)"),
        ("Chile", "Chile"),
        ("Arvandia", "Arvandia"),
    ],
)
def test_one_name_a_country(label: str, name: str) -> None:
    assert canonical_country(label) == name


@pytest.mark.parametrize("label", ["", "  ", "Prefer not to say", "prefer_not_to_say", "N/A"])
def test_labels_that_say_no_country(label: str) -> None:
    assert canonical_country(label) is None


def test_table_is_a_function_and_idempotent() -> None:
    labels = [
        label.casefold() for name, rest in COUNTRY_ALIASES.items() for label in (name, *rest)
    ]
    assert len(labels) == len(set(labels))
    assert all(canonical_country(name) == name for name in COUNTRY_ALIASES)
