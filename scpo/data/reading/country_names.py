"""Names of countries as data sets write them: a label comes in, the country's short name goes out.

ISO 3166 (`pycountry`) gives codes, names, official names, and names in other languages that have
Latin letters. A name is compared without case, accents, punctuation and the order of its words,
and common abbreviations are written out: "Korea, Rep." is "Republic of Korea".
"""

import functools
import gettext
import re
import unicodedata
from collections import defaultdict

import pycountry

# The short name used here (PRISM's for most), and what ISO or others write.
COUNTRY_ALIASES = {
    "Bosnia and Herzegovina": ("Bosnia",),
    "British Virgin Islands": ("Virgin Islands, British",),
    "Brunei": ("Brunei Darussalam",),
    "Cabo Verde": ("Cape Verde",),
    "Central African Republic": ("CAR",),
    "China": ("Mainland China", "PRC"),
    "Czechia": ("Czech Republic",),
    "Democratic Republic of the Congo": ("CD", "DRC", "Congo DRC", "Congo-Kinshasa", "Zaire"),
    "Eswatini": ("Swaziland",),
    "Falkland Islands": ("Falkland Islands (Malvinas)",),
    "Greece": ("EL",),
    "Hong Kong": ("Hong Kong SAR", "Hong Kong, China"),
    "India": ("India (Current national sample)",),
    "Ireland": ("Republic of Ireland", "Eire"),
    "Ivory Coast": ("Côte d'Ivoire", "Cote d Ivoire"),
    "Kosovo": ("XK", "XKX", "Republic of Kosovo"),
    "Macau": ("Macao", "Macao SAR", "Macau SAR", "Macao, China", "Macau SAR China"),
    "Mexico": ("Méjico",),
    "Micronesia": ("FM", "Micronesia, Fed. Sts."),
    "Myanmar": ("Burma",),
    "Netherlands": ("The Netherlands", "Holland"),
    "New Zealand": ("N. Zealand", "Aotearoa", "Aotearoa New Zealand"),
    "North Korea": ("DPRK",),
    "North Macedonia": (
        *("Macedonia", "FYROM", "FYR Macedonia"),
        "Macedonia, the former Yugoslav Republic of",
    ),
    "Palestine": (
        *("Palestine, State of", "Palest. ter.", "Palestinian territory"),
        *("Palestinian territories", "Occupied Palestinian Territory"),
        *("Occupied Palestinian Territories", "West Bank and Gaza"),
    ),
    "Republic of the Congo": ("CG", "Congo-Brazzaville"),
    "Russia": ("Russian Federation",),
    "Saudi Arabia": ("KSA",),
    "Slovakia": ("Slovak Republic",),
    "South Africa": ("RSA",),
    "South Korea": ("ROK",),
    "Taiwan": ("Taiwan ROC", "Taiwan, China"),
    "Timor-Leste": ("East Timor",),
    "Turkey": ("Türkiye", "Republic of Turkey"),
    "U.S. Virgin Islands": ("Virgin Islands, U.S.", "United States Virgin Islands"),
    "United Arab Emirates": ("UAE", "Emirates"),
    "United Kingdom": ("UK", "Britain", "Great Britain", "England"),
    "United States": ("US", "USA", "EE. UU.", "EEUU", "EUA"),
    "Vatican City": ("Holy See (Vatican City State)", "Holy See", "Vatican"),
    "Venezuela": ("VE", "Venezuela, RB"),
    "Vietnam": ("Socialist Republic of Vietnam",),
}
NO_COUNTRY = (
    *("", "nan", "nil", "na", "null", "none", "no", "false", "true", "xx", "xxx", "zz", "zzz"),
    *("unknown", "not known", "undefined", "unspecified", "not specified", "undisclosed"),
    *("not stated", "not given", "not provided", "not reported", "not available", "not answered"),
    *("not applicable", "missing", "missing value", "no data", "no answer", "no response"),
    *("no country", "not listed", "other", "others", "other country", "prefer not to say"),
    *("prefer not to answer", "prefer not to disclose", "rather not say", "declined"),
    *("declined to answer", "decline to answer", "refused", "don't know", "DK/Refused"),
    *("unknown country", "refused to answer", "please specify", "multiple", "multiple countries"),
    *("several", "several countries", "not sure", "empty", "blank", "redacted", "removed"),
    *("deleted", "error", "tbd", "todo"),
)

_WRITTEN_OUT = {
    **{"n": "north", "s": "south", "st": "saint", "is": "islands", "eq": "equatorial"},
    **{"fed": "federation", "rep": "republic", "dem": "democratic", "dr": "democratic republic"},
    **{"pr": "peoples republic", "dpr": "democratic peoples republic"},
    **{"pdr": "peoples democratic republic", "sar": "special administrative region"},
}
_FILL_WORDS = frozenset({"the", "of", "and"})
_APOSTROPHES = re.compile("['\u2019\u2018\u02bc\u00b4`]")  # Côte d'Ivoire has any of them
_BETWEEN_WORDS, _INITIALS = re.compile(r"[\W_]+"), re.compile(r"\b(\w) (?=\w\b)")
_LETTERS = str.maketrans({"\u0131": "i", "ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe"})
# Languages whose names are taken too; of all 159, some have "Toga" for Togo.
_LATIN = (
    *("cs", "da", "de", "es", "et", "fi", "fr", "hr", "hu", "id", "it", "lt", "lv", "nb"),
    *("nl", "pl", "pt", "ro", "sl", "sv", "tr"),
)
_OTHER_LETTERS = ("ar", "el", "fa", "he", "hi", "ja", "ko", "ru", "th", "uk", "zh_CN", "zh_TW")
_MIN_TRANSLATED = 4  # letters of a name in another language; a shorter one may be anything
_NO_TRANSLATION = frozenset({"island", "korea"})  # German for Iceland; either Korea


@functools.cache
def find_name(label: str) -> str | None:
    """Return the short name of the country that a label names, None where it names none.

    Names in other languages are looked up last; two names of one country, the second in brackets
    or after a slash, are one.
    """
    if label.strip() in ("NO", "N.O."):  # Norway's code; "No" and "no" are answers
        return "Norway"
    if says_no_country(label):
        return None
    key = name_key(label)
    found = names_by_key().get(key)
    if found is None and (parts := re.fullmatch(r"([^()/]+)[(/]([^()/]+)\)?\s*", label)):
        outer, inner = (find_name(part) for part in parts.groups())
        found = outer if outer == inner else None
    if found is None and key.isascii() and len(key) >= _MIN_TRANSLATED:
        found = _translated_names(_LATIN).get(key)
    return found


def name_in_other_letters(label: str) -> str | None:
    """Return the short name of a country whose name in other than Latin letters a label is."""
    return _translated_names(_OTHER_LETTERS).get(name_key(label))


@functools.cache
def says_no_country(label: str) -> bool:
    """Return whether a label is a mark of a missing answer, such as "nan", "-", "[NO]" or "1".

    So is an error of a spreadsheet ("#REF!"), and several such marks ("Unknown / other").
    """
    text = label.strip()
    if re.fullmatch(r"\[.*\]|<.*>|\{.*\}|#[\w/]+[!?]?", text):
        return True
    if not any(character.isalpha() for character in text):
        return re.fullmatch(r"\d{3}", text) is None or text not in names_by_key()
    marks = [text], re.split(r"[/(]", text)
    return text != "NO" and any(all(name_key(m) in _no_country_keys() for m in ms) for ms in marks)


def name_key(label: str) -> str:
    """Return what all spellings of a name have in common: its words, plain and sorted."""
    if label.isascii() and label.isalpha():  # most labels
        return label.lower()
    plain = unicodedata.normalize("NFKD", _APOSTROPHES.sub("", label).casefold())
    kept = (char for char in plain if not unicodedata.combining(char) and char != "\u200b")
    words = _BETWEEN_WORDS.sub(" ", "".join(kept).translate(_LETTERS))
    spelt = _INITIALS.sub(r"\1", words).split()  # "u s a" is "usa"
    if len(spelt) > 1:
        spelt = " ".join(_WRITTEN_OUT.get(word, word) for word in spelt).split()
        spelt = [word for word in spelt if word not in _FILL_WORDS] or spelt
    return " ".join(sorted(spelt))


@functools.cache
def names_by_key() -> dict[str, str]:
    """Return the short name by key, of each ISO code (also three digits), name and alias."""
    names: dict[str, str] = {}
    for country in pycountry.countries:
        written = [
            getattr(country, field, None)
            for field in ("common_name", "name", "official_name", "alpha_2", "alpha_3", "numeric")
        ]
        short = next(filter(None, written))
        names |= {name_key(text): short for text in written if text}
    for name, aliases in COUNTRY_ALIASES.items():
        keys = {name_key(text) for text in (name, *aliases)}
        iso = {names[key] for key in keys if key in names}
        names |= dict.fromkeys(keys | {key for key, short in names.items() if short in iso}, name)
    return names


@functools.cache
def _no_country_keys() -> frozenset[str]:
    return frozenset(map(name_key, NO_COUNTRY))


@functools.cache
def _translated_names(languages: tuple[str, ...]) -> dict[str, str]:
    """Return the short name by key, of each name that means one country in these languages."""
    known = names_by_key()
    english = {
        text: known[name_key(text)]
        for country in pycountry.countries
        for field in ("name", "common_name", "official_name")
        if (text := getattr(country, field, None))
    }
    meant: dict[str, set[str]] = defaultdict(set)
    for language in languages:
        catalog = gettext.translation("iso3166-1", pycountry.LOCALES_DIR, [language])
        for text, short in english.items():
            meant[name_key(catalog.gettext(text))].add(short)
    return {
        key: next(iter(names))
        for key, names in meant.items()
        if len(names) == 1 and key not in _NO_TRANSLATION | known.keys() | _no_country_keys()
    }
