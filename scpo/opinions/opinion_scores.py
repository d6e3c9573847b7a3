"""Means and intervals of opinion scores: scored answers come in, one record a figure goes out.

Every figure is taken three ways: for one country (the mean over its questions), over questions
(each counts once; its countries are averaged first) and over countries (each counts once; its
questions are averaged first). Intervals come from a bootstrap that draws whole questions, the
same draws for all rows, so differences between rows are paired.

Legend: N answers, Q questions, C countries, R resamples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from scpo.arrays import FloatArray, IntArray
from scpo.opinions.answers import METRICS
from scpo.statistics.bootstrap import Interval, divide_draws, drawn_interval, resample_sums

Kind = Literal["baseline", "model", "own", "others", "kin"]
Over = Literal["country", "questions", "countries"]


@dataclass(frozen=True)
class ScoredRow:
    """One way to predict the judged answers."""

    name: str  # "uniform", a model's label, "own scpo" and the like
    # "model" is one model on every country; "own" each country's model on its own country,
    # "others" the mean of the other countries' models; "kin" knows what other countries answered.
    kind: Kind
    scores: FloatArray  # `METRICS` of each answer, shape (N, 3), NaN where the row does not apply


@dataclass(frozen=True)
class Judged:
    """Which answers were judged."""

    countries: tuple[str, ...]  # sorted names
    country: IntArray  # of each answer, a position in `countries`, shape (N,)
    question: IntArray  # of each answer, 0..Q-1, shape (N,)


@dataclass(frozen=True)
class OpinionRecord:
    """What one row scores in one country, or over all of them."""

    row: str
    kind: Kind
    over: Over  # what is averaged over: a country's questions, all questions, or countries
    country: str | None  # None where `over` is not "country"
    questions: int  # their number
    # By metric: the similarities (1 - JS distance, higher is better) and the total variation
    # (lower is better), with intervals by question.
    figures: dict[str, Interval]
    # Base-2 similarity minus that of the reference model on the same answers; None where there
    # is no reference, or this is it.
    against_reference: Interval | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, a figure as its value, low and high."""
        against = self.against_reference
        return {
            **vars(self),
            "figures": {name: each.columns("value") for name, each in self.figures.items()},
            "against_reference": None if against is None else against.columns("value"),
        }


def summarise(
    rows: Sequence[ScoredRow], judged: Judged, *, reference: str | None = None
) -> list[OpinionRecord]:
    """Return the records of each row: over questions, over countries, then country by country.

    `reference` names the row that the others are compared with; None for no comparison.

    Raises:
        ValueError: A row has another number of scores than there are answers, or `reference` is
            no row.
    """
    by_name = {row.name: row for row in rows}
    if reference is not None and reference not in by_name:
        raise ValueError(f"`reference` must be one of {list(by_name)}, but got {reference!r}.")
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
        records += _records_of(row, columns, judged)
    return records


def question_sums(values: FloatArray, judged: Judged) -> FloatArray:
    """Return what the means of one value an answer, shape (N,), are made of, by question.

    NaN leaves an answer out.

    Returns:
        Shape (2, C + 1, Q): sums and counts of each country, and last the mean over the
        countries that answer a question, with a count of 1.
    """
    num_questions = int(judged.question.max(initial=-1)) + 1
    sums = np.zeros((2, len(judged.countries) + 1, num_questions))
    given = ~np.isnan(values)
    cells = judged.country[given], judged.question[given]
    np.add.at(sums[0], cells, values[given])
    np.add.at(sums[1], cells, 1.0)
    answered = sums[1].sum(axis=0)
    sums[0, -1] = np.nan_to_num(divide_draws(sums[0].sum(axis=0), answered))
    sums[1, -1] = answered > 0
    return sums


def means_of_sums(sums: FloatArray) -> FloatArray:
    """Return the mean of each country, over questions and over countries, shape (R, C + 2).

    `sums` are `question_sums` added up over questions, shape (R, 2, C + 1); without an answer the
    mean is NaN.
    """
    means = divide_draws(sums[:, 0], sums[:, 1])
    counted = (sums[:, 1, :-1] > 0).sum(axis=1)
    over_countries = divide_draws(np.nansum(means[:, :-1], axis=1), counted)
    return np.column_stack([means, over_countries])


def _records_of(
    row: ScoredRow, columns: dict[str, FloatArray], judged: Judged
) -> Iterator[OpinionRecord]:
    sums = np.stack([question_sums(values, judged) for values in columns.values()])
    drawn = resample_sums(sums.reshape(-1, sums.shape[-1])).reshape(-1, *sums.shape[:-1])
    found: dict[str, list[Interval]] = {}
    for number, name in enumerate(columns):
        (means,) = means_of_sums(sums[number].sum(axis=-1)[None])
        drawn_means = means_of_sums(drawn[:, number])
        questions = np.count_nonzero(sums[number, 1], axis=-1)
        found[name] = [
            drawn_interval(float(mean), draws, count)
            for mean, draws, count in zip(
                means, drawn_means.T, [*questions.tolist(), int(questions[-1])], strict=True
            )
        ]
    last = len(judged.countries)
    places: list[tuple[int, Over, str | None]] = [
        (last, "questions", None),
        (last + 1, "countries", None),
        *((column, "country", name) for column, name in enumerate(judged.countries)),
    ]
    for column, over, country in places:
        if found[METRICS[0]][column].users > 0:
            difference = found.get("difference")
            yield OpinionRecord(
                row=row.name,
                kind=row.kind,
                over=over,
                country=country,
                questions=found[METRICS[0]][column].users,
                figures={name: found[name][column] for name in METRICS},
                against_reference=None if difference is None else difference[column],
            )
