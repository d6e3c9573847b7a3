"""Preference pairs from rows in any known layout (`scpo.data.layouts`).

Rows of one user, country and prompt become one interaction with unique responses and
`comparisons`, and `margins` where a row has one. Without a column of users, each prompt of a
country is its own user, so a split by user is a split by prompt. The result does not depend on
the order of the rows: where a user judged two responses in both directions, or with different
margins, all those rows are refused, not only the later ones. Only whether responses repeat the
prompt, which is cut off them then, is told by the first rows.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypedDict, Unpack

import pyarrow as pa

from scpo.data.interactions import INTERACTIONS_SCHEMA, PROMPT_USER
from scpo.data.layouts.layout import Layout, NumberedRows
from scpo.data.layouts.recognise import KNOWN_COLUMNS, find_layout, lay_out
from scpo.data.layouts.row_places import open_rows
from scpo.data.layouts.unread_columns import LOOKALIKES, tell_unread
from scpo.data.reading.bad_rows import BadRows, ParsedRow, RowFault, group_rows
from scpo.data.reading.conversations import Message
from scpo.data.reading.countries import canonical_country
from scpo.data.reading.fields import clean_text, is_absent, take_id, take_margin
from scpo.data.reading.tabular import column_names, show_names
from scpo.data.reading.trl_columns import PairTexts, extract_texts, repeats_prompt
from scpo.data.sources.vetted import take_vetted

NUM_FIRST_ROWS = 1000  # of which one must have both responses: a file of others is not read on
_NEARLY_ALL = 0.9  # of the first rows: in such a file responses repeat the prompt
_IGNORED = ("tools", "functions", "documents", "chat_template_kwargs")
_NO_TEXT = ("image", "images", "video", "videos", "audio", "audios")  # what a row is about


@dataclass(frozen=True)
class PairColumns:
    """Names of the columns of a pairs file; all others are ignored.

    Attributes:
        prompt: What was asked; the column may be absent (TRL's implicit prompt).
        country: Country of the user; the column may be absent where a default is given.
        user: Who judged. A file without the column "user" is read as one user a prompt; in one
            that has it, rows that name no user are refused.
        margin: By how much the reward of chosen is to exceed that of rejected, a finite number
            of either sign (TRL's column of that name); the column may be absent, or empty.
        vetted: Whether the user may validate and test, true or false; None: all may.
    """

    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"
    country: str = "country"
    user: str = "user"
    margin: str = "margin"
    vetted: str | None = None

    def named(self) -> dict[str, str]:
        """Return the name of each column that is read, by what it holds."""
        return {field: name for field, name in asdict(self).items() if name is not None}


@dataclass(frozen=True)
class _Judgement(ParsedRow):
    user: str
    country: str
    texts: PairTexts
    margin: float | None
    vetted: bool | None

    def key(self) -> tuple[str, str, str, tuple[Message, ...]]:
        """Return what the judgements of one interaction have in common."""
        return self.country, self.user, self.texts.prompt, self.texts.messages or ()


class PairOptions(TypedDict, total=False):
    """Keyword arguments of `read_pairs_file` and `read_pair_rows`.

    `columns` is None for `PairColumns()`; `default_country` is that of rows that name none;
    `layout` one of `scpo.data.layouts.recognise.NAMES`, None to recognise it; with
    `margin_from_scores` the difference of a pair's two scores is its margin.
    """

    columns: PairColumns | None
    default_country: str | None
    layout: str | None
    margin_from_scores: bool


def read_pairs_file(
    path: str | Path,
    bad_rows: BadRows,
    *,
    subset: str | None = None,
    **options: Unpack[PairOptions],
) -> pa.Table:
    """Read preferences from a file, a folder or the hub into an interactions table.

    `path` and `subset` as of `scpo.data.layouts.row_places.open_rows`. The table has `comparisons`
    and no scores.

    Returns:
        Table of `INTERACTIONS_SCHEMA`; responses and comparisons of a row are sorted.

    Raises:
        FileNotFoundError: No such file or data set.
        OSError: The hub does not answer or refuses.
        ValueError: An unknown ending, an unreadable file, no row with the named columns, a layout
            that is not clear; or a bad row under the policy "stop".
    """
    names = options.get("columns") or PairColumns()
    wanted = [name.partition(".")[0] for name in names.named().values()]
    known = sorted(KNOWN_COLUMNS.union(*LOOKALIKES.values()))
    columns = list(dict.fromkeys([*wanted, *_IGNORED, *_NO_TEXT, *known]))
    rows = open_rows(path, bad_rows, columns=columns, subset=subset)
    return read_pair_rows(rows, path, bad_rows, **options)


def read_pair_rows(
    rows: NumberedRows, origin: str | Path, bad_rows: BadRows, **options: Unpack[PairOptions]
) -> pa.Table:
    """Read numbered rows of preferences as `read_pairs_file` does; `origin` names them."""
    names = options.get("columns") or PairColumns()
    label = options.get("default_country")
    country = None if label is None else canonical_country(label)
    if label is not None and country is None:
        raise ValueError(f"`default_country` must name a country, but got {label!r}.")
    path = Path(origin)
    rows = ((line, _with_nested(row, names)) for line, row in rows)
    first_rows = list(islice(rows, NUM_FIRST_ROWS))
    present = {name for _, row in first_rows for name in row}
    texts = (names.chosen, names.rejected)
    layout = find_layout(present, texts, options.get("layout"), path)
    if layout is None:
        _check_columns(present, list(texts) if first_rows else [], path)
    tell_unread(present, layout, names.named(), bad_rows)
    strips_prompt = _strips_prompt(first_rows, layout, present, names)
    found = set(present)
    laid_out = lay_out(
        _watch(chain(first_rows, rows), found, path, bad_rows),
        layout,
        present,
        names.named(),
        lambda fault, line, row: bad_rows.reject(fault, path, line, dict(row)),
        bad_rows,
        margin_from_scores=options.get("margin_from_scores", False),
    )
    judgements = []
    for line, row in laid_out:
        found.update(row)
        try:
            judgements.append(_parse_row(line, row, names, country, strips_prompt=strips_prompt))
            if strips_prompt and repeats_prompt(row, names.prompt, *texts):
                bad_rows.note("repeated_prompt")
        except RowFault as fault:
            bad_rows.reject(fault, path, line, row)
    asked, usual = names.named(), PairColumns().named()
    by_name = [asked[field] for field in asked if asked[field] != usual.get(field)]
    _check_columns(found, by_name if first_rows else [], path)
    judgements = list(_name_users(judgements, names.user, names.user in found, path, bad_rows))
    judgements = _qualify_users(judgements, bad_rows)
    return _make_table(_refuse_conflicts(judgements, path, bad_rows, names.margin), bad_rows)


def _strips_prompt(
    first_rows: NumberedRows, layout: Layout | None, present: set[str], names: PairColumns
) -> bool:
    """Tell whether the responses of nearly all of the first rows begin with the prompt."""
    rows = lay_out(first_rows, layout, present, names.named(), lambda *_: None, BadRows())
    told = [repeats_prompt(row, names.prompt, names.chosen, names.rejected) for _, row in rows]
    known = [each for each in told if each is not None]
    return bool(known) and sum(known) >= _NEARLY_ALL * len(known)


def _watch(
    rows: NumberedRows, found: set[str], path: Path, bad_rows: BadRows
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield rows of text, noting their columns and what of them is not read."""
    for line, row in rows:
        found.update(row)
        if no_text := [name for name in _NO_TEXT if row.get(name)]:
            message = (
                f"A pair must be of texts alone, got {', '.join(no_text)}, which are not read."
            )
            bad_rows.reject(RowFault("unread_content", message, no_text[0]), path, line, dict(row))
            continue
        if any(row.get(name) for name in _IGNORED):
            bad_rows.note("ignored_tools")
        yield line, row


def _with_nested(row: dict[str, Any], names: PairColumns) -> dict[str, Any]:
    """Return a row in which a column named "meta.user" is what `meta` holds as `user`."""
    nested = {}
    for name in names.named().values():
        outer, dot, inner = name.partition(".")
        if dot and name not in row and isinstance(row.get(outer), dict) and inner in row[outer]:
            nested[name] = row[outer][inner]
    return row | nested if nested else row


def _check_columns(present: set[str], needed: list[str], path: Path) -> None:
    """Check that columns occur at all: those of responses, and those that are asked for by name.

    Raises:
        ValueError: One is in no row.
    """
    absent = [name for name in needed if name not in present]
    if absent:
        is_file = path.suffix.lower() == ".parquet" and path.is_file()
        found = column_names(path) if is_file else sorted(present)
        raise ValueError(
            f"{path} must have the columns {needed}, but {absent} are in no row; "
            f"found {show_names(found)}. Name your own (--chosen-column ...) or the --layout."
        )


def _parse_row(
    line: int,
    row: dict[str, Any],
    names: PairColumns,
    default_country: str | None,
    *,
    strips_prompt: bool,
) -> _Judgement:
    """Return what a row says; the user is "" where it names none."""
    texts = extract_texts(
        row, names.prompt, names.chosen, names.rejected, strips_prompt=strips_prompt
    )
    country, label = default_country, row.get(names.country)
    if not is_absent(label):
        country = canonical_country(clean_text(label, names.country))
    if country is None:
        named = "" if is_absent(label) else f", but got {label!r:.40}"
        raise RowFault(
            "user_without_country",
            f"A country must be named, here or by default_country (--default-country){named}.",
            names.country,
        )
    user = "" if is_absent(row.get(names.user)) else take_id(row, names.user)
    vetted = None if names.vetted is None else take_vetted(row, names.vetted)
    return _Judgement(line, row, user, country, texts, take_margin(row, names.margin), vetted)


def _name_users(
    judgements: list[_Judgement], field: str, has_user: bool, path: Path, bad_rows: BadRows
) -> Iterator[_Judgement]:
    """Yield the judgements of named users; in a file without users each prompt is one."""
    unknown = RowFault(
        "unknown_user", "A user must be named, as in other rows of this file.", field
    )
    for item in judgements:
        if item.user:
            yield item
        elif has_user:
            bad_rows.reject(unknown, path, item.line, item.row)
        else:
            user = PROMPT_USER + hash_texts(item.country, item.texts.prompt)[:12]
            yield replace(item, user=user)


def _qualify_users(judgements: list[_Judgement], bad_rows: BadRows) -> list[_Judgement]:
    """Return the judgements with the country put before each user id that has several.

    Such an id (a question asked everywhere, say) stands for one user in each country.
    """
    countries: dict[str, set[str]] = defaultdict(set)
    for judgement in judgements:
        countries[judgement.user].add(judgement.country)
    several = {user for user, named in countries.items() if len(named) > 1}
    if several:
        bad_rows.note("user_in_several_countries", len(several))
    return [
        replace(judgement, user=f"{judgement.country}/{judgement.user}")
        if judgement.user in several
        else judgement
        for judgement in judgements
    ]


def _refuse_conflicts(
    judgements: list[_Judgement], path: Path, bad_rows: BadRows, margin_field: str
) -> list[_Judgement]:
    """Return the judgements that no other one contradicts, in direction or in margin."""
    contradiction = RowFault(
        "contradiction",
        "One user must judge two responses in one direction only; other rows say the opposite.",
    )
    conflicting_margin = RowFault(
        "conflicting_margin",
        "One user must give a pair one margin; other rows give another one.",
        margin_field,
    )
    refused: list[tuple[RowFault, _Judgement]] = []
    kept = []
    for group in group_rows(judgements, _Judgement.key):
        margins = _collect_margins(group)
        for item in group:
            texts = item.texts
            if (texts.rejected, texts.chosen) in margins:
                refused.append((contradiction, item))
            elif len(margins[texts.chosen, texts.rejected]) > 1:
                refused.append((conflicting_margin, item))
            else:
                kept.append(item)
    for fault, item in sorted(refused, key=lambda entry: entry[1].line):
        bad_rows.reject(fault, path, item.line, item.row)
    return kept


def _collect_margins(judgements: list[_Judgement]) -> dict[tuple[str, str], set[float]]:
    """Return the margins given to each (chosen, rejected): none, one, or several that differ."""
    margins: dict[tuple[str, str], set[float]] = defaultdict(set)
    for item in judgements:
        given = margins[item.texts.chosen, item.texts.rejected]
        if item.margin is not None:
            given.add(item.margin)
    return dict(margins)


def _make_table(kept: list[_Judgement], bad_rows: BadRows) -> pa.Table:
    """Return the interactions table; a user is vetted if all rows say so."""
    unvetted = {item.user for item in kept if item.vetted is False}
    kept = [item if item.user not in unvetted else replace(item, vetted=False) for item in kept]
    groups = sorted(group_rows(kept, _Judgement.key), key=lambda group: group[0].key())
    made = [_make_interaction(group, bad_rows) for group in groups]
    return pa.Table.from_pylist(made, schema=INTERACTIONS_SCHEMA)


def _make_interaction(judgements: list[_Judgement], bad_rows: BadRows) -> dict[str, Any]:
    country, user, prompt, messages = judgements[0].key()
    given = _collect_margins(judgements)
    if len(given) < len(judgements):
        bad_rows.note("repeated_pair", len(judgements) - len(given))
    responses = sorted({text for pair in given for text in pair})
    pairs = sorted(given)  # as the responses are sorted, so are the comparisons
    position = {text: index for index, text in enumerate(responses)}
    margins = [next(iter(given[pair]), None) for pair in pairs]
    return {
        "interaction_id": hash_texts(user, country, prompt, *chain(*messages))[:16],
        "user_id": user,
        "country": country,
        "prompt": prompt,
        "responses": responses,
        "comparisons": [[position[first], position[second]] for first, second in pairs],
        "margins": None if all(margin is None for margin in margins) else margins,
        "turn": 0,
        "messages": [message._asdict() for message in messages] or None,
        "vetted": judgements[0].vetted,
    }


def hash_texts(*texts: str) -> str:
    """Return the sha256 of texts, separated so that ("ab", "c") differs from ("a", "bc")."""
    return hashlib.sha256("\x1f".join(texts).encode()).hexdigest()
