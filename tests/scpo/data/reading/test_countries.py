"""Every spelling of a country is one name; what is none is None; near names are told."""

import logging

import pycountry
import pytest

from scpo.data.reading.countries import (
    base_country,
    canonical_country,
    find_countries,
    parse_countries,
    refuse_misspelt,
    require_country,
    tell_near_names,
)
from scpo.data.reading.country_names import COUNTRY_ALIASES
from scpo.data.sources.synthetic import COUNTRY_NAMES

SPELLINGS = {
    "Mexico": (
        "mexico",
        "MEXICO",
        "MX",
        "mx",
        "MEX",
        "México",
        "Mexico\u200b",
        " Mexico\xa0",
        "484",
        "Méjico",
    ),
    "United States": (
        *("US", "USA", "U.S.A.", "usa", "U S A", "united  states of AMERICA "),
        *("United States of America (the)", "United States of America (USA)", "Estados Unidos"),
        *("EE.UU.", "EEUU", "EUA", "Amerika Serikat"),
    ),
    "United Kingdom": (
        "UK",
        "U.K.",
        "GB",
        "GBR",
        "England",
        "Great Britain",
        "Great Britain (UK)",
    ),
    "Turkey": ("Türkiye", "Tu\u0308rkiye", "Turkiye", "TR", "Turkey/Türkiye"),
    "Ivory Coast": ("Côte d'Ivoire", "Côte d\u2019Ivoire", "Cote D'Ivoire", "Cote d Ivoire", "CI"),
    "South Korea": (
        *("Korea, Rep.", "Republic of Korea", "Korea, Republic of", "KR", "S. Korea", "S.Korea"),
        *("South_Korea", "Korea (South)"),
    ),
    "North Korea": ("Korea, Dem. People's Rep.", "Korea, Dem. People\u2019s Rep.", "DPR Korea"),
    "Czechia": ("Czech Republic", "Czech Rep.", "Česko"),
    "Vietnam": ("Viet Nam", "viet-nam", "VNM", "Socialist Republic of Vietnam"),
    "Croatia": ("Hrvatska",),
    "Estonia": ("Eesti",),
    "Latvia": ("Latvija",),
    "Lithuania": ("Lietuva",),
    "Slovenia": ("Slovenija",),
    "Serbia": ("Srbija",),
    "South Africa": ("RSA", "S. Africa"),
    "Central African Republic": ("CAR", "C.A.R."),
    "Russia": ("Russian Federation", "Russian Fed.", "Russian Federation (the)"),
    "Germany": ("germany", "Deutschland", "DE", "Alemania"),
    "Brazil": ("Brasil", "brazil", "076"),
    "Gambia": ("The Gambia", "Gambia, The", "Gambia (the)"),
    "Democratic Republic of the Congo": (
        *("DR Congo", "D.R. Congo", "Congo, Dem. Rep.", "Congo, The Democratic Republic of the"),
        *("Congo (Kinshasa)", "DRC", "Congo, DRC"),
    ),
    "Republic of the Congo": ("Congo, Rep.", "Congo-Brazzaville"),
    "Eswatini": ("Swaziland", "Eswatini (Swaziland)"),
    "Cabo Verde": ("Cape Verde",),
    "Hong Kong": ("Hong Kong S.A.R.", "Hong Kong SAR, China", "HK"),
    "Philippines": ("The Philippines",),
    "Iran": ("Iran (Islamic Republic of)", "Iran, Islamic Rep."),
    "Bolivia": ("Bolivia (Plurinational State of)",),
    "Palestine": ("State of Palestine", "Occupied Palestinian Territory", "Palest. ter."),
    "Laos": ("Lao PDR", "Lao People's Democratic Republic"),
    "Myanmar": ("Burma", "Myanmar (Burma)", "Burma/Myanmar"),
    "Trinidad and Tobago": ("Trinidad & Tobago",),
    "Saint Lucia": ("St. Lucia",),
    "Norway": ("NO", "Norge"),
    "Chile": ("República de Chile", "Republik Chile"),
    "Spain": ("España", "Espana"),
    "Egypt": ("Egypt, Arab Rep.",),
    "Venezuela": ("Venezuela, RB",),
    "India": ("India (Current national sample)",),
    "Netherlands": ("The Netherlands", "Holland", "NL"),
    "Kosovo": ("XK", "Republic of Kosovo"),
    "Saudi Arabia": ("KSA", "K.S.A.", "Kingdom of Saudi Arabia"),
    "China": ("Mainland China", "P.R. China", "China, People's Republic of", "China (PRC)"),
    "Macau": ("Macau SAR China",),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings_are_one_country(name: str) -> None:
    assert {label: canonical_country(label) for label in SPELLINGS[name]} == dict.fromkeys(
        SPELLINGS[name], name
    )


@pytest.mark.parametrize(
    "label",
    [
        *("Arvandia", "Western Europe", "Latin America", "Korea", "New Mexico", "Mexico City"),
        *("Georgia (US)", "Guinea pig", "Island", "extra", "中国", "India (Non-national sample)"),
        *("Northern Ireland", "[red]Land", "A"),
    ],
)
def test_other_labels_pass_unchanged(label: str) -> None:
    assert canonical_country(label) == label


@pytest.mark.parametrize(
    "label",
    [
        *(
            "",
            "  ",
            "Prefer not to say",
            "prefer_not_to_say",
            "N/A",
            "NA",
            "nan",
            "None",
            "-",
            "--",
        ),
        *("?", "[NO]", "[deleted]", "<NA>", "(none)", "No", "Not specified", "not  Stated", "1"),
        *("76", "999", "#", "Don\u2019t know", "DK/Refused", "Other"),
        *("#REF!", "#N/A", "#DIV/0!", "#NAME?", "unknown/other", "Other (please specify)"),
        *("Unknown country", "Refused to answer", "multiple countries"),
    ],
)
def test_labels_that_say_no_country(label: str) -> None:
    assert canonical_country(label) is None
    with pytest.raises(ValueError, match="A country must be named, but got"):
        require_country(label)


def test_every_name_of_iso_is_one_country_and_stays_it() -> None:
    for country in pycountry.countries:
        name = canonical_country(country.name)
        written = {country.name, country.alpha_3, getattr(country, "official_name", country.name)}
        assert name is not None
        assert {canonical_country(label) for label in (*written, name)} == {name}
    assert len({canonical_country(country.name) for country in pycountry.countries}) == 249


def test_table_is_a_function_and_idempotent() -> None:
    labels = [
        label.casefold() for name, rest in COUNTRY_ALIASES.items() for label in (name, *rest)
    ]
    assert len(labels) == len(set(labels))
    assert all(canonical_country(name) == name for name in COUNTRY_ALIASES)


def test_countries_are_found_by_any_name_and_misspelt_ones_refused() -> None:
    present = ["Mexico", "United States", "Arvandia", "nan"]
    assert find_countries(["USA", "México", "US", "nan"], present) == [
        "United States",
        "Mexico",
        "nan",
    ]
    with pytest.raises(ValueError, match=r"No interactions of Mexcio; .* Did you mean Mexico\?"):
        find_countries(["Mexcio"], present)
    with pytest.raises(ValueError, match=r"No interactions of Chile; there are some of Arvandia"):
        find_countries(["CL"], present)
    with pytest.raises(ValueError, match=r"got 'NA'.*Namibia in full"):
        find_countries(["NA"], present)


def test_names_with_a_comma_on_a_command_line() -> None:
    text = "Gambia, The,Chile, Korea, Rep., Arvandia, Congo, Dem. Rep."
    names = ["Gambia, The", "Chile", "Korea, Rep.", "Arvandia", "Congo, Dem. Rep."]
    assert parse_countries(text) == names
    assert parse_countries(" , ") == []


def test_near_names_are_told(caplog: pytest.LogCaptureFixture) -> None:
    tell_near_names(["Mexico", "Mexcio", "Arvandia", "ARVANDIA", "中国", "Latin America"])
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "'Mexcio' is taken for a country of its own. If it is Mexico, write 'Mexico'.",
        "'中国' is taken for a country of its own. If it is China, write 'China'.",
        "'ARVANDIA' and 'Arvandia' are taken for two countries. If they are one, write one of "
        "them.",
    ]
    assert caplog.records[0].levelno == logging.WARNING


def test_synthetic_cultures_are_near_no_country(caplog: pytest.LogCaptureFixture) -> None:
    tell_near_names([*COUNTRY_NAMES, "extra", "Everywhere", "India (Non-national sample)"])
    assert not caplog.records


def test_base_of_a_sample() -> None:
    assert base_country("S. Africa (Non-national sample)") == "South Africa"
    assert base_country("Arvandia") == "Arvandia"


def test_free_label_close_to_a_country_is_refused() -> None:
    refuse_misspelt("global", ["Mexico"])
    with pytest.raises(ValueError, match="'mexcio' is close to 'Mexico'"):
        refuse_misspelt("mexcio", ["Mexico"])
