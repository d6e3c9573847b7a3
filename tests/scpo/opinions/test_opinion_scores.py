from typing import Any

import numpy as np
import pytest

from scpo.opinions.opinion_scores import (
    Judged,
    OpinionRecord,
    ScoredRow,
    means_of_sums,
    question_sums,
    summarise,
)
from scpo.statistics.bootstrap import Interval, draw_users, widened_tail

pytestmark = pytest.mark.usefixtures("few_resamples")

# Country 0 answers questions 0, 1, 2; country 1 answers 0 and 3; country 2 answers 3.
JUDGED = Judged(
    ("Chile", "Mali", "Peru"), np.array([0, 1, 0, 0, 1, 2]), np.array([0, 0, 1, 2, 3, 3])
)
VALUES = np.array([0.1, 0.5, 0.2, 0.6, 0.9, 0.3])


def scored(name: str, values: np.ndarray, kind: Any = "model") -> ScoredRow:
    return ScoredRow(name, kind, np.stack([values, values / 2, 1 - values], axis=1))


def by_place(records: list[OpinionRecord], row: str) -> dict[str, OpinionRecord]:
    return {r.country or r.over: r for r in records if r.row == row}


def naive_means(values: np.ndarray, weight: np.ndarray) -> list[float]:
    """Each country, over questions, over countries: by loops."""
    means, cells = [], list(zip(JUDGED.country, JUDGED.question, values, strict=True))
    for country in range(3):
        own = [(weight[q], v) for c, q, v in cells if c == country and not np.isnan(v)]
        total = sum(w for w, _ in own)
        means.append(sum(w * v for w, v in own) / total if total else np.nan)
    top, bottom = 0.0, 0.0
    for question in range(4):
        here = [v for _, q, v in cells if q == question and not np.isnan(v)]
        if here:
            top += weight[question] * sum(here) / len(here)
            bottom += weight[question]
    there = [mean for mean in means if not np.isnan(mean)]
    overall = sum(there) / len(there) if there else np.nan
    return [*means, top / bottom if bottom else np.nan, overall]


def test_means_by_hand() -> None:
    sums = question_sums(VALUES, JUDGED)
    (means,) = means_of_sums(sums.sum(axis=-1)[None])
    assert means == pytest.approx(
        [0.3, 0.7, 0.3, (0.3 + 0.2 + 0.6 + 0.6) / 4, (0.3 + 0.7 + 0.3) / 3]
    )
    assert np.count_nonzero(sums[1], axis=-1).tolist() == [3, 2, 1, 4]


@pytest.mark.parametrize("missing", [[], [0], [1, 4], [0, 2, 3]])
def test_means_of_drawn_questions_equal_loops(missing: list[int]) -> None:
    values = VALUES.copy()
    values[missing] = np.nan
    counts = np.random.default_rng(0).multinomial(4, np.full(4, 0.25), size=50).astype(float)
    means = means_of_sums(np.einsum("rq,kcq->rkc", counts, question_sums(values, JUDGED)))
    expected = [naive_means(values, weight) for weight in counts]
    assert means == pytest.approx(np.array(expected), nan_ok=True)


def test_records_of_every_place() -> None:
    records = summarise([scored("m", VALUES)], JUDGED)
    assert [(r.over, r.country, r.questions) for r in records] == [
        ("questions", None, 4),
        ("countries", None, 4),
        ("country", "Chile", 3),
        ("country", "Mali", 2),
        ("country", "Peru", 1),
    ]
    chile = records[2].figures
    assert chile["similarity_base2"].value == pytest.approx(0.3)
    assert chile["similarity_natural"].value == pytest.approx(0.15)
    assert chile["total_variation"].value == pytest.approx(0.7)
    assert records[4].figures["similarity_base2"] == Interval(pytest.approx(0.3), None, None, 1)
    assert all(record.against_reference is None for record in records)


def test_intervals_are_quantiles_of_drawn_means() -> None:
    figure = by_place(summarise([scored("m", VALUES)], JUDGED), "m")
    counts = draw_users(np.random.default_rng(0), 60, 4)
    drawn = np.array([naive_means(VALUES, weight) for weight in counts])
    for column, place in ((0, "Chile"), (3, "questions"), (4, "countries")):
        tail = widened_tail(3 if place == "Chile" else 4)
        expected = np.nanquantile(drawn[:, column], [tail, 1 - tail])
        made = figure[place].figures["similarity_base2"]
        assert (made.low, made.high) == pytest.approx(tuple(expected))


def test_a_row_that_applies_to_some_answers_has_no_record_elsewhere() -> None:
    values = VALUES.copy()
    values[[1, 4]] = np.nan
    records = by_place(summarise([scored("own", values)], JUDGED), "own")
    assert set(records) == {"questions", "countries", "Chile", "Peru"}
    assert records["countries"].figures["similarity_base2"].value == pytest.approx(0.3)


def test_differences_are_paired() -> None:
    rows = [scored("global", VALUES), scored("better", VALUES + 0.05)]
    records = summarise(rows, JUDGED, reference="global")
    assert all(r.against_reference is None for r in records if r.row == "global")
    for record in by_place(records, "better").values():
        difference = record.against_reference
        assert difference is not None
        assert difference.value == pytest.approx(0.05)
        if record.questions > 1:
            assert (difference.low, difference.high) == pytest.approx((0.05, 0.05))


def test_intervals_cover_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scpo.statistics.bootstrap.NUM_RESAMPLES", 300)
    rng = np.random.default_rng(0)
    covered = 0
    judged = Judged(("A", "B"), np.tile([0, 1], 30), np.repeat(np.arange(30), 2))
    for _ in range(200):
        values = np.repeat(rng.normal(0.5, 0.1, 30), 2) + rng.normal(0, 0.05, 60)
        record = summarise([scored("m", values)], judged)[0]
        figure = record.figures["similarity_base2"]
        assert figure.low is not None
        assert figure.high is not None
        covered += figure.low <= 0.5 <= figure.high
    assert 0.90 <= covered / 200 <= 0.98


def test_bad_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"m: scores must have the shape \(6, 3\)"):
        summarise([scored("m", VALUES[:5])], JUDGED)
    with pytest.raises(ValueError, match=r"`reference` must be one of \['m'\], but got 'x'"):
        summarise([scored("m", VALUES)], JUDGED, reference="x")
