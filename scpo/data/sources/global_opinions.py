"""GlobalOpinionQA: its rows come in, survey questions with each country's answer go out.

A row is one question. `options` is a printed list, `selections` a printed defaultdict of shares by
country; both are parsed as literals, nothing is evaluated. A row that cannot be used is refused;
where only one country's answer is broken, that answer is refused and the others of the row stay.
Shares that miss the sum of 1 by rounding are scaled to it. Options such as "DK/Refused" are kept:
they are part of what was answered. The result does not depend on the order of the rows.

Reference: Durmus et al. 2023, "Towards Measuring the Representation of Subjective Global Opinions
in Language Models", https://arxiv.org/abs/2306.16388
"""

import math
import reprlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scpo.data.layouts.row_places import open_rows
from scpo.data.reading.bad_rows import BadRows, ParsedRow, RowFault
from scpo.data.reading.countries import canonical_country
from scpo.data.reading.fields import clean_text, take_text
from scpo.data.reading.printed_literals import parse_printed

OPINIONS_HUB_NAME = "Anthropic/llm_global_opinions"
_COLUMNS = ("question", "selections", "options")
SUM_TOLERANCE = 0.02  # four shares, each rounded to a whole per cent
EXACT_TOLERANCE = 1e-9


@dataclass(frozen=True)
class SurveyQuestion:
    """A question, two different options at least, and how the people of each country answered.

    `shares` are, by country, those who chose each option, in 0..1 with sum 1.
    """

    question: str
    options: tuple[str, ...]
    shares: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class _Answer(ParsedRow):
    country: str
    question: str
    options: tuple[str, ...]
    shares: tuple[float, ...]


def read_global_opinions(source: str | Path, bad_rows: BadRows) -> list[SurveyQuestion]:
    """Read GlobalOpinionQA, or a file with its question, selections and options.

    `source` is the file, a place as of `open_rows`, or `OPINIONS_HUB_NAME`. `bad_rows` collects
    the rows, and single countries' answers, that cannot be used.

    Returns:
        Questions sorted by text and options, each with one country's answer at least.

    Raises:
        FileNotFoundError: No such file.
        OSError: The hub does not answer or refuses, as of `open_rows`.
        ValueError: A damaged file; or a bad row under the policy "stop".
    """
    answers: list[_Answer] = []
    for line, row in open_rows(source, bad_rows, columns=_COLUMNS):
        try:
            question, options, selections = _parse_row(row)
        except RowFault as fault:
            bad_rows.reject(fault, source, line, row)
            continue
        for label, given in selections.items():
            seen = {"question": question, "country": label, "shares": given}
            try:
                country, shares = _parse_country(label), _parse_shares(given, options, bad_rows)
            except RowFault as fault:
                bad_rows.reject(fault, source, line, seen)
            else:
                seen["shares"] = shares
                answers.append(_Answer(line, seen, country, question, options, shares))
    answers = bad_rows.merge_repeated(
        answers,
        source,
        key=lambda answer: (answer.country, answer.question, answer.options),
        content=lambda answer: answer.shares,
        conflict=RowFault(
            "conflicting_shares",
            "A country must answer a question once; another answer differs.",
            "selections",
        ),
        note="repeated_answer",
    )
    return _group_questions(answers)


def _parse_row(row: dict[str, Any]) -> tuple[str, tuple[str, ...], dict[Any, Any]]:
    """Return question, options and what each label chose, as far as it belongs to the row."""
    question = take_text(row, "question")
    listed = parse_printed(take_text(row, "options"), "options")
    if not isinstance(listed, list | tuple):
        message = f"A list of options must stand here, got {reprlib.repr(listed)}."
        raise RowFault("wrong_type", message, "options")
    options = tuple(clean_text(_as_text(option), "options") for option in listed)
    if len(options) < 2:
        message = f"Two options at least must stand here, got {len(options)}."
        raise RowFault("too_few_options", message, "options")
    if len(set(options)) < len(options):
        message = f"Options must differ, got {reprlib.repr(listed)}."
        raise RowFault("repeated_option", message, "options")
    selections = parse_printed(take_text(row, "selections"), "selections")
    if not isinstance(selections, dict):
        message = f"Shares by country must stand here, got {reprlib.repr(selections)}."
        raise RowFault("wrong_type", message, "selections")
    if not selections:
        raise RowFault("no_answer", "One country at least must have answered.", "selections")
    return question, options, selections


def _as_text(option: object) -> object:
    """Return the text of an option that is a number (a scale of 0 to 10), others unchanged."""
    return f"{option:g}" if _is_number(option) else option


def _parse_country(label: object) -> str:
    country = canonical_country(clean_text(label, "selections"))
    if country is None:
        message = f"A country must be named, got {label!r}."
        raise RowFault("user_without_country", message, "selections")
    return country


def _parse_shares(given: object, options: tuple[str, ...], bad_rows: BadRows) -> tuple[float, ...]:
    """Return the shares of one country, scaled to the sum of 1."""
    if not isinstance(given, list | tuple) or not all(_is_number(share) for share in given):
        message = f"A list of numbers must stand here, got {reprlib.repr(given)}."
        raise RowFault("wrong_type", message, "selections")
    if len(given) != len(options):
        message = f"{len(options)} shares must hold, one an option, got {len(given)}."
        raise RowFault("shares_do_not_fit", message, "selections")
    if not all(0 <= share <= 1 for share in given):  # also refuses NaN
        message = f"Shares must be in 0..1, got {reprlib.repr(given)}."
        raise RowFault("share_out_of_range", message, "selections")
    total = math.fsum(given)
    if abs(total - 1) > SUM_TOLERANCE:
        message = f"The sum of shares must be 1 to {SUM_TOLERANCE}, got {total:g}."
        raise RowFault("shares_do_not_sum", message, "selections")
    if abs(total - 1) > EXACT_TOLERANCE:
        bad_rows.note("shares_rescaled")
    return tuple(share / total for share in given)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _group_questions(answers: Iterable[_Answer]) -> list[SurveyQuestion]:
    shares: dict[tuple[str, tuple[str, ...]], dict[str, tuple[float, ...]]] = defaultdict(dict)
    for answer in sorted(answers, key=lambda item: (item.question, item.options, item.country)):
        shares[answer.question, answer.options][answer.country] = answer.shares
    return [SurveyQuestion(*key, by_country) for key, by_country in shares.items()]
