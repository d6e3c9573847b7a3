"""From rows in any known layout to rows of prompt, chosen and rejected.

A layout is recognised by its columns; where several fit, or the prompt may be in several columns,
that is refused by name. A layout or a column that is named is taken at its word.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from scpo.data.layouts.chosen_rejected import (
    PROMPTS,
    SCORE_COLUMNS,
    find_prompt,
    find_scores,
    join_prompt,
)
from scpo.data.layouts.community_alignment import COMMUNITY
from scpo.data.layouts.layout import RATED, SCORES, Layout, NumberedRows, RawRow, take_number
from scpo.data.layouts.many_responses import MANY_RESPONSES
from scpo.data.layouts.two_responses import TWO_RESPONSES
from scpo.data.reading.bad_rows import BadRows, RowFault
from scpo.data.reading.countries import canonical_country
from scpo.data.reading.fields import is_absent, take_given, take_id, tidy

PLAIN = "chosen_rejected"
LAYOUTS = (*TWO_RESPONSES, *MANY_RESPONSES, COMMUNITY)
NAMES = (PLAIN, *(layout.name for layout in LAYOUTS))
# Of a Parquet file no others are read.
KNOWN_COLUMNS = frozenset(
    {*PROMPTS, "system"}
    | {name for names in SCORE_COLUMNS for name in names}
    | {name for each in LAYOUTS for name in (*each.needs, *each.reads, each.user, each.country)}
) - {""}


def find_layout(
    present: Collection[str], texts: tuple[str, str], asked: str | None, origin: object
) -> Layout | None:
    """Return the layout of rows with these columns, None for `chosen_rejected`.

    `texts` are the names of the columns of chosen and rejected, `asked` a layout by name.

    Raises:
        ValueError: There is no layout of that name, it lacks a column, or several fit.
    """
    named = {layout.name: layout for layout in LAYOUTS}
    if asked is not None and asked != PLAIN:
        if asked not in named:
            raise ValueError(f"`layout` must be one of {', '.join(NAMES)}, but got {asked!r}.")
        if lacking := sorted(named[asked].needs - set(present)):
            raise ValueError(
                f"{origin} must have the columns {', '.join(lacking)} of the layout {asked}, but "
                f"has {', '.join(sorted(present))}."
            )
        return named[asked]
    if asked == PLAIN or texts != ("chosen", "rejected"):
        return None
    fitting = [
        layout for layout in LAYOUTS if not layout.is_only_named and layout.needs <= set(present)
    ]
    has_texts = all(name in present for name in texts)
    names = [PLAIN] * has_texts + [layout.name for layout in fitting]
    if len(names) > 1:
        raise ValueError(
            f"{origin} may be of the layouts {' and '.join(names)}, by its columns. Name one of "
            "them (layout)."
        )
    return fitting[0] if fitting else None


def lay_out(
    rows: NumberedRows,
    layout: Layout | None,
    present: Collection[str],
    names: Mapping[str, str],
    reject: Callable[[RowFault, int, RawRow], None],
    bad_rows: BadRows,
    *,
    margin_from_scores: bool = False,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield rows whose prompt, responses, user, country and margin are under `names`.

    Args:
        rows: Numbered rows of one layout.
        layout: As of `find_layout`.
        present: The columns that the rows have.
        names: Columns by "prompt", "chosen", "rejected", "user", "country" and "margin".
        reject: Called with a row that cannot be read, its fault and its number.
        bad_rows: Counts rows without a preference.
        margin_from_scores: Take the difference of a pair's two scores as its margin, where the
            row has none.

    Raises:
        ValueError: The prompt may be in several columns.
    """
    made: Iterator[tuple[int, dict[str, Any], list[dict[str, Any]]]]
    if layout is None:
        column = find_prompt(present, names["prompt"])
        prompt = names["prompt"]
        made = ((line, row, [join_prompt(row, column, prompt)]) for line, row in rows)
    else:
        made = _read_all(rows, layout, names, reject, bad_rows)
    for line, row, pairs in made:
        for pair in pairs:
            if margin_from_scores and (scores := find_scores(pair)) is not None:
                scored = dict(zip(SCORES, scores, strict=True))
                try:
                    chosen, rejected = (take_number(scored, name) for name in SCORES)
                except RowFault as fault:
                    reject(fault, line, row)
                    continue
                if pair.get(names["margin"]) in (None, ""):
                    pair[names["margin"]] = chosen - rejected
            yield line, pair


def _with_needed(
    rows: NumberedRows, layout: Layout, reject: Callable[[RowFault, int, RawRow], None]
) -> NumberedRows:
    """Yield the rows that have every field of their layout."""
    for line, row in rows:
        try:
            for name in sorted(layout.needs):
                take_given(row, name)
        except RowFault as fault:
            reject(fault, line, row)
        else:
            yield line, row


def _read_all(
    rows: NumberedRows,
    layout: Layout,
    names: Mapping[str, str],
    reject: Callable[[RowFault, int, RawRow], None],
    bad_rows: BadRows,
) -> Iterator[tuple[int, dict[str, Any], list[dict[str, Any]]]]:
    """Yield number, row and pairs of every row that can be read."""
    own = {"user": layout.user, "country": layout.country}
    whole = _with_needed(rows, layout, reject)
    for line, row in _gather(whole, layout.rate, names, reject) if layout.rate else whole:
        try:
            pairs = layout.read_pairs(row)
        except RowFault as fault:
            reject(fault, line, row)
            continue
        if not pairs:
            bad_rows.note("no_preference")
        kept: dict[str, Any] = {}
        for field in ("user", "country", "margin"):
            column = names[field]
            if column not in row and own.get(field):
                column = own[field]
            if column in row:
                kept[names[field]] = row[column]
        yield line, row, [{**kept, **_rename(pair, names)} for pair in pairs]


def _gather(
    rows: NumberedRows,
    rate: Callable[[RawRow], tuple[Any, float]],
    names: Mapping[str, str],
    reject: Callable[[RowFault, int, RawRow], None],
) -> NumberedRows:
    """Return one row for all of one judgement, with their responses, by the line of the first."""
    gathered: dict[str, tuple[int, dict[str, Any]]] = {}
    for line, row in rows:
        try:
            rated, key = rate(row), _judgement_key(row, names)
        except RowFault as fault:
            reject(fault, line, row)
        else:
            _, first = gathered.setdefault(key, (line, {**row, RATED: []}))
            first[RATED].append(rated)
    return gathered.values()


def _judgement_key(row: RawRow, names: Mapping[str, str]) -> str:
    """Return what rows of one judgement share, however it is spelt: prompt, user and country."""
    prompt, country = row["prompt"], row.get(names["country"])
    user = None if is_absent(row.get(names["user"])) else take_id(row, names["user"])
    named = canonical_country(country) if isinstance(country, str) else None
    asked = tidy(prompt) if isinstance(prompt, str) else prompt
    return json.dumps([asked, user, named or country], default=str)


def _rename(pair: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(field, field): value for field, value in pair.items()}
