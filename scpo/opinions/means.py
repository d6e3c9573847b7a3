"""Means and intervals of opinion scores: scored answers come in, one record a figure goes out.

Every figure is taken three ways: for one country (the mean over its questions), over questions
(each counts once; its countries are averaged first) and over countries (each counts once; its
questions are averaged first). Intervals come from a bootstrap that draws whole questions, the
same draws for all rows, so differences between rows are paired.

Legend: N answers, Q questions, C countries, R resamples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scpo.arrays import FloatArray, IntArray
from scpo.opinions.answers import METRICS
from scpo.statistics.bootstrap import draw_users, quantile_ends

NUM_RESAMPLES = 2000

Kind = Literal["baseline", "model", "own", "others"]
Over = Literal["country", "questions", "countries"]


@dataclass(frozen=True)
class ScoredRow:
    """One way to predict the judged answers.

    Attributes:
        name: "uniform", a model's label, "own scpo" and the like.
        kind: "baseline"; "model", one model on every country; "own", each country's model on its
            own country; "others", the mean of the other countries' models.
        scores: `METRICS` of each answer, shape (N, 3), NaN where the row does not apply.
    """

    name: str
    kind: Kind
    scores: FloatArray


@dataclass(frozen=True)
class Judged:
    """Which answers were judged.

    Attributes:
        countries: Names, sorted.
        country: Country of each answer as a position in `countries`, shape (N,).
        question: Question of each answer, 0..Q-1, shape (N,).
    """

    countries: tuple[str, ...]
    country: IntArray
    question: IntArray


@dataclass(frozen=True)
class Figure:
    """A mean with its 95 % interval by question bootstrap, None with fewer than 2 questions."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class OpinionRecord:
    """What one row scores in one country, or over all of them.

    Attributes:
        row: Name of the row.
        kind: Its kind, as of `ScoredRow`.
        over: What is averaged over: a country's questions, all questions, or countries.
        country: The country; None where `over` is not "country".
        questions: Number of questions.
        figures: By metric: the similarities (1 - JS distance, higher is better) and the total
            variation (lower is better).
        against_reference: Base-2 similarity minus that of the reference model on the same
            answers; None where there is no reference, or this is it.
    """

    row: str
    kind: Kind
    over: Over
    country: str | None
    questions: int
    figures: dict[str, Figure]
    against_reference: Figure | None


def summarise(
    rows: Sequence[ScoredRow],
    judged: Judged,
    *,
    reference: str | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[OpinionRecord]:
    """Return the records of each row: over questions, over countries, then country by country.

    Args:
        rows: Predictions, scored.
        judged: What their scores belong to.
        reference: Name of the row that the others are compared with; None for no comparison.
        num_resamples: Bootstrap draws.
        seed: Seed of the draws.

    Raises:
        ValueError: A row has another number of scores than there are answers, or `reference` is
            no row.
    """
    by_name = {row.name: row for row in rows}
    if reference is not None and reference not in by_name:
        raise ValueError(f"`reference` must be one of {list(by_name)}, but got {reference!r}.")
    num_questions = int(judged.question.max(initial=-1)) + 1
    rng = np.random.default_rng(seed)
    counts = draw_users(rng, num_resamples, num_questions).astype(np.float64)
    records: list[OpinionRecord] = []
    for row in rows:
        if row.scores.shape != (len(judged.question), len(METRICS)):
            raise ValueError(
                f"{row.name}: scores must have the shape {len(judged.question), len(METRICS)}, "
                f"but got {row.scores.shape}."
            )
        columns = dict(zip(METRICS, row.scores.T, strict=True))
        if reference is not None and row.name != reference:
            columns["difference"] = row.scores[:, 0] - by_name[reference].scores[:, 0]
        records += _records_of(row, columns, judged, counts)
    return records


def question_means(
    values: FloatArray, judged: Judged, counts: FloatArray
) -> tuple[FloatArray, IntArray]:
    """Return weighted means of one value an answer.

    Args:
        values: Shape (N,), NaN for answers to leave out.
        judged: Country and question of each answer.
        counts: Weight of each question, shape (R, Q).

    Returns:
        Means, shape (R, C + 2): each country, over questions, over countries; NaN where no
        question with weight is left. And the number of questions of each column, (C + 2,).
    """
    num_countries = len(judged.countries)
    shape = (counts.shape[1], num_countries + 1)
    present, sums = np.zeros(shape), np.zeros(shape)
    given = ~np.isnan(values)
    places = judged.question[given], judged.country[given]
    np.add.at(present, places, 1.0)
    np.add.at(sums, places, values[given])
    answered = present.sum(axis=1)
    present[:, -1] = answered > 0
    sums[:, -1] = _divide(sums.sum(axis=1), answered, otherwise=0.0)
    means = _divide(counts @ sums, counts @ present, otherwise=np.nan)
    is_there = ~np.isnan(means[:, :-1])
    total = np.where(is_there, means[:, :-1], 0.0).sum(axis=1)
    over_countries = _divide(total, is_there.sum(axis=1), otherwise=np.nan)
    questions = (present > 0).sum(axis=0)
    return (
        np.column_stack([means, over_countries]),
        np.append(questions, questions[-1]).astype(np.int64),
    )


def _records_of(
    row: ScoredRow, columns: dict[str, FloatArray], judged: Judged, counts: FloatArray
) -> Iterator[OpinionRecord]:
    """Yield the records of one row."""
    once = np.ones((1, counts.shape[1]))
    found: dict[str, list[Figure]] = {}
    for name, values in columns.items():
        (means,), questions = question_means(values, judged, once)
        drawn, _ = question_means(values, judged, counts)
        found[name] = [
            Figure(float(mean), *quantile_ends(drawn[:, column], int(number)))
            for column, (mean, number) in enumerate(zip(means, questions, strict=True))
        ]
    last = len(judged.countries)
    places: list[tuple[int, Over, str | None]] = [
        (last, "questions", None),
        (last + 1, "countries", None),
        *((column, "country", name) for column, name in enumerate(judged.countries)),
    ]
    for column, over, country in places:
        if questions[column] > 0:
            difference = found.get("difference")
            yield OpinionRecord(
                row=row.name,
                kind=row.kind,
                over=over,
                country=country,
                questions=int(questions[column]),
                figures={name: found[name][column] for name in METRICS},
                against_reference=None if difference is None else difference[column],
            )


def _divide(numerator: FloatArray, divisor: FloatArray, *, otherwise: float) -> FloatArray:
    """Return numerator / divisor, and `otherwise` where the divisor is 0."""
    filled = np.full(numerator.shape, otherwise)
    return np.divide(numerator, divisor, out=filled, where=divisor > 0)
