"""One name per country, wherever one is named: data, options, configurations, labels of models.

A label that names a country of ISO 3166 becomes that country's short English name
(`scpo.data.reading.country_names`). Other labels pass unchanged, so invented countries, regions
and samples that are not national ("India (Non-national sample)") work; one that is close to a
country's name is told. What is no country ("nan", "-") is none.
"""

import functools
import logging
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import combinations

from scpo.data.reading.country_names import (
    find_name,
    name_in_other_letters,
    name_key,
    names_by_key,
    says_no_country,
)
from scpo.text.near_words import nearest

_log = logging.getLogger(__name__)

MISSPELT = 0.76  # difflib's ratio; "mean" and "Oman" have 0.75
_MOST_NAMES = 50  # of no country that are looked at: a file of more has another column there
_NEAR = 0.82  # the same for names that may be invented: "Kestovia" and "Estonia" have 0.8


@functools.cache
def canonical_country(label: str) -> str | None:
    """Return the one name of a country, or None where the label says no country."""
    name = find_name(label)
    if name is None and not says_no_country(label):
        return " ".join(unicodedata.normalize("NFC", label).replace("_", " ").split())
    return name


def require_country(label: str) -> str:
    """Return the one name of a country.

    Raises:
        ValueError: The label says no country.
    """
    name = canonical_country(label)
    if name is None:
        raise ValueError(
            f"A country must be named, but got {label!r}. Write its English name or ISO 3166 code"
            + (" (Namibia in full)." if label.strip().upper() == "NA" else ".")
        )
    return name


def one_names(labels: Iterable[str]) -> list[str]:
    """Return the one name of each label; one that says no country stays as it is."""
    return [canonical_country(label) or label for label in labels]


def base_country(country: str) -> str:
    """Return the country of a sample that is named in brackets, such as "India (Sample)"."""
    outer = country.partition(" (")[0]
    return canonical_country(outer) or outer


def find_countries(asked: Iterable[str], present: Iterable[str]) -> list[str]:
    """Return the one names of countries that must be among those present.

    Raises:
        ValueError: A country says none or is not there; the message has the nearest names.
    """
    there = sorted(set(present))
    found = list(dict.fromkeys(name if name in there else require_country(name) for name in asked))
    absent = [name for name in found if name not in there]
    if absent:
        near = [name for each in absent for name in nearest_names(each, there)]
        advice = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(
            f"No interactions of {', '.join(absent)}; there are some of {', '.join(there)}."
            + advice
        )
    return found


def parse_countries(text: str) -> list[str]:
    """Return comma-separated names; "Gambia, The" and "Korea, Rep." are one name each."""
    names: list[str] = []
    for part in filter(None, map(str.strip, text.split(","))):
        joined = f"{names[-1]}, {part}" if names else part
        if names and find_name(part) is None and find_name(joined) is not None:
            names[-1] = joined
        else:
            names.append(part)
    return names


def nearest_names(name: str, others: Iterable[str]) -> list[str]:
    """Return the one of `others` that is close to a name, or none; case does not matter."""
    near = nearest(name, others, MISSPELT)
    return [near] if near else []


def tell_near_names(countries: Sequence[str]) -> None:
    """Warn of names that may be misspelt: close to a country's, or to another one's of the list.

    Names that differ in letters' case, accents or punctuation only are close.
    """
    known = sorted(set(names_by_key().values()))
    unknown = sorted(name for name in set(countries) if find_name(name) is None)
    if len(unknown) > _MOST_NAMES:
        _log.warning(
            "%s different names are of no country, such as %r. Is it the right column?",
            f"{len(unknown):,}",
            unknown[0],
        )
        unknown = unknown[:_MOST_NAMES]
    for name in unknown:
        other = None if name.isascii() else name_in_other_letters(name)
        if near := other or nearest(name, known, _NEAR):
            _log.warning(
                "%r is taken for a country of its own. If it is %s, write %r.", name, near, near
            )
    for first, second in combinations(unknown, 2):
        if name_key(first) == name_key(second):
            _log.warning(
                "%r and %r are taken for two countries. If they are one, write one of them.",
                first,
                second,
            )


def refuse_misspelt(label: str, countries: Iterable[str]) -> None:
    """Refuse a free label, such as "global", that is close to a country's name.

    Raises:
        ValueError: It is close to one of the countries; case does not matter.
    """
    if near := nearest(label, countries, MISSPELT):
        raise ValueError(
            f"A label must be a country or unlike one, but {label!r} is close to {near!r}. Write "
            f"{near!r} for that country's model, or give a model for all countries another name."
        )
