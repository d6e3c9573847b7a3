"""One spelling per country: a label of any source comes in, the name used here goes out.

The names are the short English ones that PRISM uses for most countries. Labels that are not in
the table pass unchanged, so invented countries and regions work. A sample that is not national
("India (Non-national sample)") stays apart from its country.
"""

import difflib
import functools
import unicodedata
from collections.abc import Iterable

MISSPELT = 0.76  # difflib's ratio; "mean" and "Oman" have 0.75
NO_COUNTRY = frozenset({"", "prefer not to say", "n/a", "none", "unknown", "other"})

COUNTRY_ALIASES = {
    "Bolivia": ("Bolivia, Plurinational State of", "Plurinational State of Bolivia"),
    "Bosnia and Herzegovina": ("Bosnia Herzegovina", "Bosnia & Herzegovina", "Bosnia"),
    "Czechia": ("Czech Rep.", "Czech Republic"),
    "Hong Kong": ("Hong Kong SAR",),
    "India": ("India (Current national sample)",),
    "Iran": ("Iran, Islamic Republic of", "Islamic Republic of Iran"),
    "Ireland": ("Republic of Ireland",),
    "Ivory Coast": ("Cote d'Ivoire", "Côte d'Ivoire"),
    "Laos": ("Lao People's Democratic Republic",),
    "Macau": ("Macau SAR", "Macao", "Macao SAR"),
    "Moldova": ("Moldova, Republic of", "Republic of Moldova"),
    "Myanmar": ("Burma",),
    "Netherlands": ("The Netherlands", "Holland"),
    "New Zealand": ("N. Zealand", "Aotearoa New Zealand"),
    "North Korea": ("N. Korea", "Korea, Democratic People's Republic of"),
    "North Macedonia": ("Macedonia", "N. Macedonia"),
    "Palestine": ("Palest. ter.", "Palestinian territories", "Palestine, State of"),
    "Russia": ("Russian Federation",),
    "Slovakia": ("Slovak Republic",),
    "South Africa": ("S. Africa", "Republic of South Africa"),
    "South Korea": ("S. Korea", "Korea, Republic of", "Republic of Korea", "Korea, South"),
    "Syria": ("Syrian Arab Republic",),
    "Taiwan": ("Taiwan ROC", "Taiwan, Province of China"),
    "Tanzania": ("Tanzania, United Republic of", "United Republic of Tanzania"),
    "Turkey": ("Türkiye", "Turkiye"),
    "United Arab Emirates": ("UAE",),
    "United Kingdom": (
        *("UK", "U.K.", "Britain", "Great Britain"),
        "United Kingdom of Great Britain and Northern Ireland",
    ),
    "United States": ("US", "U.S.", "USA", "U.S.A.", "United States of America"),
    "Venezuela": ("Venezuela, Bolivarian Republic of", "Bolivarian Republic of Venezuela"),
    "Vietnam": ("Viet Nam",),
}


def canonical_country(label: str) -> str | None:
    """Return the one name of a country, or None where the label says no country.

    Case, underscores and repeated white space do not matter for the labels in the table.
    """
    words = _split_label(label)
    key = " ".join(words).casefold()
    if key in NO_COUNTRY:
        return None
    return _names_by_key().get(key, " ".join(words))


def refuse_misspelt(label: str, countries: Iterable[str]) -> None:
    """Refuse a free label, such as "global", that is close to a country's name.

    Raises:
        ValueError: It is close to one of the countries; case does not matter.
    """
    names = {name.casefold(): name for name in countries}
    near = difflib.get_close_matches(label.casefold(), names, n=1, cutoff=MISSPELT)
    if near:
        raise ValueError(
            f"A label must be a country or unlike one, but {label!r} is close to "
            f"{names[near[0]]!r}. Write {names[near[0]]!r} for that country's model, or give a "
            "model for all countries another name."
        )


@functools.cache
def _names_by_key() -> dict[str, str]:
    return {
        " ".join(_split_label(label)).casefold(): name
        for name, aliases in COUNTRY_ALIASES.items()
        for label in (name, *aliases)
    }


def _split_label(label: str) -> list[str]:
    return unicodedata.normalize("NFC", label).replace("_", " ").split()
