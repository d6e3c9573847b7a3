"""The collector of rows that cannot be used: counted by reason, named by file and line.

In goes every row that a reader refuses, with one of the codes of `REASONS`; out comes
quarantine.jsonl, or under the policy "stop" a ValueError at the first such row. Harmless findings
(a blank line, the same pair twice) are only counted, under the codes of `NOTES`.
"""

import json
import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from scpo.files.atomic import atomic_path, may_write_over
from scpo.text.counts import format_count
from scpo.text.json_text import refuse_deep

MAX_LISTED = 100_000
_LISTED = '{"reason": '  # how each line of quarantine.jsonl begins
_MAX_CHARS = 10_000  # of a text of a refused row in quarantine.jsonl
_MAX_ITEMS = 1_000  # of a list or an object in it
_MOST_BAD = 0.99  # of so many rows that no more are listed
BadRowPolicy = Literal["quarantine", "stop"]

REASONS = {
    "not_utf8": "bytes that are not UTF-8",
    "torn_line": "the last line stops in the middle",
    "invalid_json": "a line that is not one JSON object with unique keys",
    "invalid_csv": "a CSV record with broken quotes or a wrong number of fields",
    "nul_character": "a NUL character in a line or a text",
    "lone_surrogate": "half of a UTF-16 pair, which no UTF-8 file can hold",
    "replacement_character": "U+FFFD: an earlier program lost characters here",
    "missing_field": "a field that is absent or null",
    "wrong_type": "a field of another type than the layout says",
    "empty_text": "no visible character, or the literal EMPTY STRING",
    "score_not_finite": "a score that is NaN or infinite",
    "score_out_of_range": "a score outside 1..100",
    "margin_out_of_range": "a margin that is not finite or beyond 10,000 either way",
    "unknown_user": "a row whose user is not named, or not in the survey",
    "user_without_country": "a row of a user whose country is missing or not said",
    "vetted_not_said": "whether a user is vetted is neither true nor false",
    "conflicting_user": "one user id listed with different countries",
    "duplicate_utterance": "one utterance id with different contents",
    "mixed_interaction": "one interaction id with several users, prompts or turns",
    "one_response": "an interaction with a single usable response",
    "too_many_responses": "an interaction of over 128 responses with scores: every two a pair",
    "contradiction": "one user judged the same responses in both directions",
    "conflicting_margin": "one user judged the same responses with different margins",
    "chosen_equals_rejected": "a pair whose two texts are the same",
    "prompts_differ": "chosen and rejected answer different prompts, or another than the row's",
    "prompt_alone": "the prompt where a response must stand",
    "prompt_answered": "a prompt that ends with a turn of the assistant",
    "no_assistant_turn": "a conversation that ends with no turn of the assistant",
    "several_turns": "conversations that differ in more than their last response",
    "unknown_role": "a message of a role that is not system, user or assistant",
    "unread_content": "a message or row with tool calls, images or else that is no text",
    "printed_messages": "a printed list where a text or a list of messages must stand",
    "rendered_template": "a text that a chat template has rendered already",
    "invalid_literal": "a printed list or dict that is none",
    "too_few_options": "a survey question with fewer than two options",
    "repeated_option": "a survey question that offers one option twice",
    "no_answer": "a survey question that no country answered",
    "share_out_of_range": "a share of people that is no number in 0..1",
    "shares_do_not_fit": "another number of shares than of options",
    "shares_do_not_sum": "shares whose sum is further from 1 than rounding explains",
    "conflicting_shares": "one country answered one question with different shares",
}

NOTES = {
    "unlisted_row": f"refused rows beyond the first {MAX_LISTED:,}, not in quarantine.jsonl",
    "no_preference": "rows in which no response is preferred to another, left out",
    "unread_column": "columns that may name users, countries or prompts, but are not named",
    "other_split": "files of other splits than train, not read",
    "ignored_tools": "rows with tools, documents or options of a template, which are not read",
    "blank_line": "blank lines skipped",
    "byte_order_mark": "byte order marks removed",
    "repeated_header": "CSV headers repeated between records, skipped",
    "repeated_user": "survey rows that repeat another one, merged",
    "user_without_utterances": "survey users without any utterance",
    "repeated_utterance": "utterances that repeat another one, merged",
    "repeated_response": "same text and score within an interaction, merged",
    "repeated_interaction": "interactions that repeat another one of that user, merged",
    "large_interaction": "interactions of more than four responses, kept",
    "repeated_prompt": "rows whose responses began with the prompt, which is cut off them",
    "repeated_pair": "pairs that repeat another one of that user, merged",
    "user_in_several_countries": "user ids qualified by their country",
    "shares_rescaled": "rounded shares scaled to the sum of 1",
    "repeated_answer": "a country's answers that repeat another one, merged",
}


class RowFault(Exception):
    """What is wrong with one row, or one `field` of it, for one of `REASONS`.

    The message says what must hold and what was got. The reader that knows file and line turns
    it into a rejection.
    """

    def __init__(self, reason: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field


@dataclass(frozen=True)
class ParsedRow:
    """A row whose fields are good: its line, from 1, and the raw row, for the quarantine."""

    line: int
    row: dict[str, Any]


AnyRow = TypeVar("AnyRow", bound=ParsedRow)


@dataclass
class BadRows:
    """Rows refused so far, and counts of what was harmless.

    The policy "quarantine" collects rows as they are written to quarantine.jsonl, "stop" raises at
    the first. `rejected` lists the first `MAX_LISTED`; `counts` counts all by reason, `notes` by
    code of `NOTES`; `num_rows_read` counts good and bad rows, but no blank lines. `shards` tells
    where the rows of a folder lie that are numbered through: (number, file, line) wherever the
    lines do not just go on.
    """

    policy: BadRowPolicy = "quarantine"
    rejected: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    num_rows_read: int = 0
    shards: dict[Path, list[tuple[int, Path, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.policy not in get_args(BadRowPolicy):
            raise ValueError(
                f"`on_bad_rows` must be one of {list(get_args(BadRowPolicy))}, but got "
                f"{self.policy!r}."
            )

    def reject(self, fault: RowFault, file: str | Path, line: int, row: object) -> None:
        """Refuse one row of a file or a hub data set.

        `line` counts from 1 (row number in a Parquet file, a data set or the `shards` of a
        folder); `row` is the row as far as it could be read: dict, text or bytes.

        Raises:
            ValueError: The fault's reason is none of `REASONS`; the policy is "stop", then
                "file:line: field ...: message"; or more than `MAX_LISTED` rows are bad,
                and nearly all.
        """
        if fault.reason not in REASONS:
            raise ValueError(f"`reason` must be one of {list(REASONS)}, but got {fault.reason!r}.")
        if shards := self.shards.get(Path(file)):
            first, file, start = shards[bisect_right(shards, line, key=itemgetter(0)) - 1]
            line += start - first
        if self.policy == "stop":
            where = f"{file}:{line}: " + (f"field {fault.field!r}: " if fault.field else "")
            raise ValueError(where + fault.message)
        self.counts[fault.reason] += 1
        if len(self.rejected) == MAX_LISTED:
            num_bad = self.counts.total()
            if num_bad >= _MOST_BAD * self.num_rows_read:
                raise ValueError(
                    f"{file}: {num_bad:,} of the first {self.num_rows_read:,} rows are bad, the "
                    f"last since: {fault.message} Is it the right file, with the columns that "
                    "are named?"
                )
            self.note("unlisted_row")
            return
        self.rejected.append(
            {
                "reason": fault.reason,
                "message": fault.message,
                "file": str(file),
                "line": line,
                "field": fault.field,
                "row": _make_jsonable(row),
            }
        )

    def merge_repeated(
        self,
        rows: Iterable[AnyRow],
        file: str | Path,
        *,
        key: Callable[[AnyRow], Hashable],
        content: Callable[[AnyRow], Hashable],
        conflict: RowFault,
        note: str,
    ) -> list[AnyRow]:
        """Return the first row of each key; where contents differ, refuse all rows of that key.

        `conflict` is the fault of rows that differ, `note` the code of `NOTES` for repetitions.
        """
        kept, refused = [], []
        for group in group_rows(rows, key):
            if len(set(map(content, group))) > 1:
                refused += group
                continue
            kept.append(group[0])
            if len(group) > 1:
                self.note(note, len(group) - 1)
        for item in sorted(refused, key=lambda item: item.line):
            self.reject(conflict, file, item.line, item.row)
        return kept

    def note(self, code: str, count: int = 1) -> None:
        """Count something harmless.

        Raises:
            ValueError: `code` is none of `NOTES`.
        """
        if code not in NOTES:
            raise ValueError(f"`code` must be one of {list(NOTES)}, but got {code!r}.")
        self.notes[code] += count

    def describe_nothing(self, origin: object, quarantine: Path) -> str:
        """Return why a source gave no interaction, for an error; the refused rows lie there."""
        message = (
            f"At least one usable interaction must be there, but {origin} has none: "
            f"{format_count(self.num_rows_read, 'row')} read, refused {join_counts(self.counts)}"
            + (f"; {', '.join(NOTES[code] for code in self.notes)}." if self.notes else ".")
        )
        if self.rejected:
            first = self.rejected[0]
            message += f" The first: {first['file']}:{first['line']}: {first['message']}"
        return f"{message} See {quarantine}."

    def write(self, path: Path) -> None:
        """Write quarantine.jsonl atomically: one JSON object a refused row, in reading order.

        Raises:
            ValueError: The path is that of something else.
        """
        if not may_write_over(path, _LISTED):
            raise ValueError(
                f"{path} is where refused rows are listed, but holds something else. Move it away."
            )
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(_encode_entry(entry) + "\n" for entry in self.rejected)


def _encode_entry(entry: dict[str, Any]) -> str:
    """Return an entry as JSON; a row nested so deep that it cannot be read back is a text."""
    try:
        refuse_deep(entry)
    except ValueError:
        entry = {**entry, "row": json.dumps(entry["row"])}
    return json.dumps(entry)


def join_counts(counts: Mapping[str, int]) -> str:
    """Return counts as one line, with their sum first."""
    listed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f"{sum(counts.values()):,}" + (f" ({listed})" if listed else "")


def group_rows(rows: Iterable[AnyRow], key: Callable[[AnyRow], Hashable]) -> list[list[AnyRow]]:
    """Return rows in groups of one key, groups and rows in their first order."""
    groups: dict[Hashable, list[AnyRow]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return list(groups.values())


def _make_jsonable(value: object) -> object:
    """Return `value` with everything replaced that strict JSON cannot hold."""
    if isinstance(value, str) and len(value) > _MAX_CHARS:
        return f"{value[:_MAX_CHARS]}... ({len(value) - _MAX_CHARS:,} more characters)"
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, bytes):
        return _make_jsonable(value.decode("utf-8", errors="backslashreplace"))
    if not isinstance(value, dict | list | tuple):
        return repr(value)
    more = f"... ({len(value) - _MAX_ITEMS:,} more)" if len(value) > _MAX_ITEMS else None
    if isinstance(value, dict):
        shown = islice(value.items(), _MAX_ITEMS)
        named = {str(key)[:_MAX_CHARS]: _make_jsonable(item) for key, item in shown}
        return {**named, "...": more} if more else named
    return [_make_jsonable(item) for item in value[:_MAX_ITEMS]] + ([more] if more else [])
