"""PRISM's survey: numbered rows come in, the country of each user goes out.

The country is where the user lives (`location.reside_country`), under the one name of
`scpo.data.reading.countries`. Users who do not say it stay in the result, without a country.
"""

from collections.abc import Iterable
from typing import Any

from scpo.data.reading.bad_rows import BadRows, RowFault
from scpo.data.reading.countries import canonical_country
from scpo.data.reading.fields import clean_text, take_id

NumberedRows = Iterable[tuple[int, dict[str, Any]]]


def read_places(rows: NumberedRows, file: str, bad_rows: BadRows) -> dict[str, str | None]:
    """Return the country of each user of the survey, None where it is not said.

    A user listed twice with one country is merged and counted; with different countries all
    those rows are refused and the user has none.

    Raises:
        ValueError: A bad row under the policy "stop".
    """
    found: dict[str, dict[str | None, list[tuple[int, dict[str, Any]]]]] = {}
    for line, row in rows:
        try:
            user, country = take_id(row, "user_id"), _parse_country(row)
        except RowFault as fault:
            bad_rows.reject(fault, file, line, row)
        else:
            found.setdefault(user, {}).setdefault(country, []).append((line, row))
    conflicts = []
    for by_country in found.values():
        listed = [entry for entries in by_country.values() for entry in entries]
        if len(by_country) > 1:
            conflicts.extend(listed)
        elif len(listed) > 1:
            bad_rows.note("repeated_user", len(listed) - 1)
    message = "A user must live in one country; another row names another one."
    conflict = RowFault("conflicting_user", message, "user_id")
    for line, row in sorted(conflicts, key=lambda entry: entry[0]):
        bad_rows.reject(conflict, file, line, row)
    return {
        user: next(iter(by_country)) if len(by_country) == 1 else None
        for user, by_country in found.items()
    }


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
