"""Names for files, trial ids and studies: one name, one slug."""

import unicodedata

import pytest

from sweeps.ledger.words import slug

PLAIN = {
    "Mexico": "mexico",
    "United States": "united-states",
    "South Africa": "south-africa",
    "Trinidad and Tobago": "trinidad-and-tobago",
    "USA": "usa",
}
OTHERS = [
    *(
        "中国",
        "日本",
        "대한민국",
        "ไทย",
        "Россия",
        "مصر",
        "\u200fمصر",
        "🇫🇷",
        "-",
        ".",
        "..",
        "/",
        "",
        " ",
    ),
    *("mexico", "MEXICO", "México", "Mexico ", " Mexico", "Mexico\n", "Mexi\u200bco", "Mexico/x"),
    *(unicodedata.normalize("NFD", "México"), "Mexico\u200e", "Mexico.", "../Mexico", "Mexico\\"),
    *("Sao Tome", "Sao-Tome", "São Tomé", "sao tome", "SAO TOME", "Sao  Tome", "Sao_Tome"),
    *("usa", "Usa", "CON", "Con", "Nul", "AUX", "a" * 300, "a" * 299, "A" * 300, "[/x]", "A=B"),
    *("Mexico Final", "Mexico Curve Full", "United states", "Korea, Rep.", "Korea (Rep)"),
    "Bad \ud800",
]


def test_plain_names_keep_the_slug_they_had() -> None:
    assert {name: slug(name) for name in PLAIN} == PLAIN


def test_different_names_have_different_slugs_that_any_file_system_takes() -> None:
    names = [*PLAIN, *OTHERS]
    slugs = [slug(name) for name in names]
    assert len({each.casefold() for each in slugs}) == len(set(names)) == len(names)
    for each in slugs:
        assert each.isascii()
        assert 0 < len(each) <= 60
        assert set(each) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
        assert each[0] not in "-_."
        assert each not in ("con", "nul", "aux", "prn")


@pytest.mark.parametrize("name", ["x_0123456789", "name_0123456789"])
def test_a_name_that_looks_like_a_slug_is_hashed_itself(name: str) -> None:
    assert slug(name) != name
    assert slug(name) != slug(slug(name))
