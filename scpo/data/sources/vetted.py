"""Vetted users: known to judge well, they alone may validate and test; everybody may train.

Who is vetted comes from a column of a pairs file or from a file of user ids. A user is vetted if
all rows say so.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from scpo.data.interactions import INTERACTIONS_SCHEMA
from scpo.data.reading.bad_rows import RowFault
from scpo.data.reading.fields import is_absent
from scpo.data.reading.lines import read_text

_YES, _NO = {"true", "yes", "1"}, {"false", "no", "0"}


def take_vetted(row: dict[str, Any], column: str) -> bool:
    """Return whether a row's user is vetted; not where the row is silent.

    Raises:
        RowFault: It is neither true nor false.
    """
    given = row.get(column)
    if is_absent(given):
        return False
    said = str(given).strip().lower().removesuffix(".0")
    if said not in _YES | _NO:
        raise RowFault(
            "vetted_not_said", f"Vetted must be true or false, but got {given!r:.40}.", column
        )
    return said in _YES


def mark_vetted(table: pa.Table, file: Path) -> pa.Table:
    """Return interactions whose users are vetted if a file names them, one id a line.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is no UTF-8 text, names nobody, or users that are not in the table.
    """
    if not file.is_file():
        raise FileNotFoundError(f"No file of vetted users at {file} (data.vetted.file).")
    named = {line.strip() for line in "".join(read_text(file)).splitlines()} - {""}
    if not named:
        raise ValueError(f"{file} must name vetted users, one id a line, but names nobody.")
    users = table["user_id"].to_pylist()
    if unknown := sorted(named - set(users)):
        raise ValueError(
            f"{file} names {len(unknown)} of {len(named)} users that have no usable interaction "
            f"(the first is {unknown[0]!r:.80}). Give ids as in interactions.parquet."
        )
    return set_vetted(table, [user in named for user in users])


def set_vetted(table: pa.Table, vetted: Sequence[bool]) -> pa.Table:
    """Return interactions with the column `vetted`, a value a row."""
    field = INTERACTIONS_SCHEMA.field("vetted")
    number = table.schema.get_field_index("vetted")
    return table.set_column(number, field, pa.array(vetted, pa.bool_()))


def count_vetted(table: pa.Table) -> dict[str, int] | None:
    """Return the number of vetted users of each country; None where nothing is said."""
    if table["vetted"].null_count == table.num_rows:
        return None
    vetted: dict[str, set[str]] = {name: set() for name in table["country"].unique().to_pylist()}
    columns = (table[name].to_pylist() for name in ("country", "user_id", "vetted"))
    for country, user, is_vetted in zip(*columns, strict=True):
        if is_vetted:
            vetted[country].add(user)
    return {country: len(users) for country, users in sorted(vetted.items())}
