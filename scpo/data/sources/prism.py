"""PRISM's survey and utterances as interactions: the hub's data set or a folder comes in.

One row of `utterances` is one response with one score; rows of one `interaction_id` are the
responses that one user saw together. The country is where the user lives
(`location.reside_country` of the survey). Bad rows go to the collector, and the result does not
depend on the order of the rows.

Reference: Kirk et al. 2024, "The PRISM Alignment Dataset", https://arxiv.org/abs/2404.16019
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from scpo.data.interactions import INTERACTIONS_SCHEMA
from scpo.data.layouts.hub_rows import read_hub_rows
from scpo.data.layouts.layout import NumberedRows
from scpo.data.reading.bad_rows import BadRows, ParsedRow, RowFault, group_rows
from scpo.data.reading.fields import MAX_RESPONSES, take_id, take_score, take_text, take_turn
from scpo.data.reading.jsonl import read_jsonl
from scpo.data.sources.prism_survey import read_countries

PRISM_HUB_NAME = "HannahRoseKirk/prism-alignment"
USUAL_MAX_RESPONSES = 4  # what PRISM's interface showed at once


@dataclass(frozen=True)
class _Utterance(ParsedRow):
    utterance_id: str
    interaction_id: str
    user_id: str
    country: str
    turn: int
    prompt: str
    response: str
    score: float


def read_prism(source: str | Path, bad_rows: BadRows) -> pa.Table:
    """Read PRISM, or anything in its layout, into an interactions table with scores.

    `source` is `PRISM_HUB_NAME`, or a folder with survey.jsonl and utterances.jsonl (or .gz).

    Returns:
        Table of `INTERACTIONS_SCHEMA`; responses stand in the order of their utterance ids.

    Raises:
        FileNotFoundError: No such folder, or a file is missing in it.
        OSError: The hub does not answer or refuses, as of `read_hub_rows`.
        ValueError: A damaged file; or a bad row under the policy "stop".
    """
    survey_name, survey = _open_rows(source, "survey", bad_rows)
    countries = read_countries(survey, survey_name, bad_rows)
    file, rows = _open_rows(source, "utterances", bad_rows)
    utterances = []
    seen_users = set()
    for line, row in rows:
        seen_users.add(str(row.get("user_id")))
        try:
            utterances.append(_parse_utterance(line, row, countries))
        except RowFault as fault:
            bad_rows.reject(fault, file, line, row)
    if countries.keys() - seen_users:
        bad_rows.note("user_without_utterances", len(countries.keys() - seen_users))
    utterances = _merge_repeated_utterances(utterances, file, bad_rows)
    groups = _group_interactions(utterances, file, bad_rows)
    interactions = [_make_interaction(group) for group in groups]
    return pa.Table.from_pylist(
        _merge_repeated_interactions(interactions, bad_rows), schema=INTERACTIONS_SCHEMA
    )


def find_prism_file(folder: Path, name: str) -> Path:
    """Return `name`.jsonl or `name`.jsonl.gz in a folder.

    Raises:
        FileNotFoundError: Neither is there.
    """
    for file in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz"):
        if file.is_file():
            return file
    raise FileNotFoundError(
        f"No {name}.jsonl in {folder}. Name a folder with survey.jsonl and utterances.jsonl, "
        f"or {PRISM_HUB_NAME!r}."
    )


def _open_rows(source: str | Path, name: str, bad_rows: BadRows) -> tuple[str, NumberedRows]:
    """Return the file or hub name of the rows, for messages, and the numbered rows."""
    if source == PRISM_HUB_NAME:
        return f"{source}/{name}", read_hub_rows(source, bad_rows, name)
    file = find_prism_file(Path(source), name)
    return str(file), read_jsonl(file, bad_rows)


def _parse_utterance(
    line: int, row: dict[str, Any], countries: dict[str, str | None]
) -> _Utterance:
    user = take_id(row, "user_id")
    if user not in countries:
        raise RowFault("unknown_user", f"The survey must list user {user!r}.", "user_id")
    country = countries[user]
    if country is None:
        raise RowFault(
            "user_without_country", f"The survey must name a country of user {user!r}.", "user_id"
        )
    return _Utterance(
        line=line,
        row=row,
        utterance_id=take_id(row, "utterance_id"),
        interaction_id=take_id(row, "interaction_id"),
        user_id=user,
        country=country,
        turn=take_turn(row, "turn"),
        prompt=take_text(row, "user_prompt"),
        response=take_text(row, "model_response"),
        score=take_score(row, "score"),
    )


def _merge_repeated_utterances(
    utterances: list[_Utterance], file: str, bad_rows: BadRows
) -> list[_Utterance]:
    return bad_rows.merge_repeated(
        utterances,
        file,
        key=lambda item: item.utterance_id,
        content=lambda item: (
            *(item.interaction_id, item.user_id, item.turn),
            *(item.prompt, item.response, item.score),
        ),
        conflict=RowFault(
            "duplicate_utterance",
            "`utterance_id` must be unique; another row of this id differs.",
            "utterance_id",
        ),
        note="repeated_utterance",
    )


def _group_interactions(
    utterances: list[_Utterance], file: str, bad_rows: BadRows
) -> Iterator[list[_Utterance]]:
    """Yield the usable responses of each interaction, two at least."""
    wide = RowFault(
        "too_many_responses",
        f"At most {MAX_RESPONSES} responses must be in an interaction: every two make a pair.",
        "interaction_id",
    )
    mixed = RowFault(
        "mixed_interaction",
        "An interaction must have one user, one prompt and one turn.",
        "interaction_id",
    )
    lone = RowFault(
        "one_response",
        "An interaction must have two usable responses at least, got one.",
        "interaction_id",
    )
    for group in group_rows(utterances, lambda item: item.interaction_id):
        if len({(item.user_id, item.prompt, item.turn) for item in group}) > 1:
            for item in group:
                bad_rows.reject(mixed, file, item.line, item.row)
            continue
        responses = _merge_repeated_responses(group, file, bad_rows)
        if len(responses) == 1:
            bad_rows.reject(lone, file, responses[0].line, responses[0].row)
        elif len(responses) > MAX_RESPONSES:
            for item in responses:
                bad_rows.reject(wide, file, item.line, item.row)
        elif responses:
            if len(responses) > USUAL_MAX_RESPONSES:
                bad_rows.note("large_interaction")
            yield responses


def _merge_repeated_responses(
    group: list[_Utterance], file: str, bad_rows: BadRows
) -> list[_Utterance]:
    """Return one utterance a text, in the order of utterance ids."""
    return bad_rows.merge_repeated(
        sorted(group, key=lambda item: item.utterance_id),
        file,
        key=lambda item: item.response,
        content=lambda item: item.score,
        conflict=RowFault(
            "contradiction",
            "One text must have one score within an interaction; another row differs.",
            "score",
        ),
        note="repeated_response",
    )


def _make_interaction(group: list[_Utterance]) -> dict[str, Any]:
    first = group[0]
    return {
        "interaction_id": first.interaction_id,
        "user_id": first.user_id,
        "country": first.country,
        "prompt": first.prompt,
        "responses": [item.response for item in group],
        "scores": [item.score for item in group],
        "turn": first.turn,
    }


def _merge_repeated_interactions(
    interactions: list[dict[str, Any]], bad_rows: BadRows
) -> list[dict[str, Any]]:
    """Return one interaction of those with the same user, turn, prompt, responses and scores."""
    kept: dict[Hashable, dict[str, Any]] = {}
    for made in sorted(interactions, key=lambda made: made["interaction_id"]):
        judged = frozenset(zip(made["responses"], made["scores"], strict=True))
        key = (made["user_id"], made["turn"], made["prompt"], judged)
        if key in kept:
            bad_rows.note("repeated_interaction")
        else:
            kept[key] = made
    return list(kept.values())
