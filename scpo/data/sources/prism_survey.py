"""PRISM's survey: numbered rows come in, the country of each user goes out.

The country is where the user lives (`location.reside_country`), under the one name of
`scpo.data.reading.countries`. Users who do not say it stay in the result, without a country.
"""

from dataclasses import dataclass
from typing import Any

from scpo.data.layouts.layout import NumberedRows
from scpo.data.reading.bad_rows import BadRows, ParsedRow, RowFault
from scpo.data.reading.countries import canonical_country
from scpo.data.reading.fields import clean_text, take_id


@dataclass(frozen=True)
class _Resident(ParsedRow):
    user: str
    country: str | None


def read_countries(rows: NumberedRows, file: str, bad_rows: BadRows) -> dict[str, str | None]:
    """Return the country of each user of the survey, None where it is not said.

    A user listed twice with one country is merged and counted; with different countries all
    those rows are refused and the user has none.

    Raises:
        ValueError: A bad row under the policy "stop".
    """
    residents = []
    for line, row in rows:
        try:
            residents.append(_Resident(line, row, take_id(row, "user_id"), _parse_country(row)))
        except RowFault as fault:
            bad_rows.reject(fault, file, line, row)
    kept = bad_rows.merge_repeated(
        residents,
        file,
        key=lambda item: item.user,
        content=lambda item: item.country,
        conflict=RowFault(
            "conflicting_user",
            "A user must live in one country; another row names another one.",
            "user_id",
        ),
        note="repeated_user",
    )
    countries = {item.user: item.country for item in kept}
    return {item.user: countries.get(item.user) for item in residents}


def _parse_country(row: dict[str, Any]) -> str | None:
    location = row.get("location")
    if location is None:
        return None
    if not isinstance(location, dict):
        message = f"An object must stand here, got {location!r:.40}."
        raise RowFault("wrong_type", message, "location")
    label = location.get("reside_country")
    if label is None or label == "":
        return None
    return canonical_country(clean_text(label, "location.reside_country"))
