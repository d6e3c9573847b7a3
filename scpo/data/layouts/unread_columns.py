"""Columns that look like those of users, countries or prompts, but are not named, so not read.

A guess could be wrong, so nothing is read of them. Where no column of that kind is read they are
told: else each prompt is its own user, or every row of the default country, in silence.
"""

import logging
from collections.abc import Collection, Mapping

from scpo.data.layouts.chosen_rejected import PROMPTS
from scpo.data.layouts.layout import Layout
from scpo.data.reading.bad_rows import BadRows

_log = logging.getLogger(__name__)

_PEOPLE = ("user", "annotator", "worker", "rater", "labeler", "participant", "respondent")
_COUNTRIES = ("country", "country_code", "country_name", *(f"{who}_country" for who in _PEOPLE))
_INSTEAD = {
    "user": "each prompt is its own user",
    "country": "rows are of the default country, or refused",
    "prompt": "the prompt is what chosen and rejected begin with",
}


def _spell(*names: str) -> set[str]:
    """Return names as people write them: user_id, userId, UserID, "User ID", USER_ID, user-id."""
    cases = (str.lower, str.title, str.upper, lambda name: name.title().replace("_Id", "_ID"))
    spelt = {case(name) for name in names for case in cases}
    camel = {name[0].lower() + name[1:] for name in spelt}
    return {name.replace("_", joint) for name in spelt | camel for joint in ("_", "", " ", "-")}


LOOKALIKES = {
    "user": _spell(*_PEOPLE, *(f"{who}_id" for who in _PEOPLE), "username", "judge"),
    "country": _spell(*_COUNTRIES, "location", "nationality", "reside_country"),
    "prompt": _spell("prompt", "query", "user_prompt", *PROMPTS),
}


def tell_unread(
    present: Collection[str], layout: Layout | None, names: Mapping[str, str], bad_rows: BadRows
) -> None:
    """Warn of columns that may hold what no column that is read does, and count them.

    `present` are the columns that the rows have, `names` those asked for by what they hold.
    """
    own: dict[str, Collection[str]] = {"prompt": PROMPTS}
    if layout is not None:
        own = {"user": {layout.user}, "country": {layout.country}, "prompt": present}
    for field, alike in LOOKALIKES.items():
        found = sorted(alike.intersection(present).difference(names.values()))
        if not found or {names[field], *own.get(field, ())}.intersection(present):
            continue
        bad_rows.note("unread_column", len(found))
        _log.warning(
            "No column is named %s, so %s. If %s is it, name it by --%s-column (%s= in Python).",
            *(names[field], _INSTEAD[field], " or ".join(found), field, field),
        )
