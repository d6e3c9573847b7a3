"""The three paragraphs that close the page: what held, what did not, what the data cannot say.

They are made from the judged claims and the rows, so they say no more than the tables.
"""

import statistics
from collections.abc import Sequence

from scpo.statistics.wording import format_difference
from sweeps.ledger.pooled import PooledRow
from sweeps.ledger.words import BASELINE, POOLED, TUNED_ARM
from sweeps.research.study_page.rows import DataSetResult
from sweeps.research.study_page.study_claims import JudgedClaim

_CHANCE = 0.05  # of a 95 % interval to leave out 0 where there is no difference
_SMALL = 0.01  # a difference in accuracy that is told apart and yet of little use


def what_held(judged: Sequence[JudgedClaim]) -> str:
    """Return the claims whose interval lies on their side of 0."""
    held = [one for one in judged if one.verdict == "held"]
    if not held:
        return "No claim of the paper's pattern was shown on any data set."
    return " ".join(
        [
            f"{len(held)} of {len(judged)} comparisons came out as the paper's pattern says, "
            "with an interval that leaves out 0.",
            *_sentences(held),
        ]
    )


def what_did_not(judged: Sequence[JudgedClaim]) -> str:
    """Return the claims that were contradicted, and those that were not shown."""
    opposite = [one for one in judged if one.verdict == "opposite"]
    unclear = [one for one in judged if one.verdict == "not told apart"]
    sentences = []
    if opposite:
        sentences += ["The opposite was found:", *_sentences(opposite)]
    if unclear:
        sentences += ["Not told apart, the interval holds 0:", *_sentences(unclear)]
    return " ".join(sentences) or "Nothing: every claim held on every data set."


def what_cannot_be_said(judged: Sequence[JudgedClaim], results: Sequence[DataSetResult]) -> str:
    """Return how coarse the data are, and how many differences chance alone would show."""
    sentences = []
    for result in results:
        found = [result.find(BASELINE, country) for country in result.countries]
        baselines = [row for row in found if row is not None]
        if baselines:
            users = sorted(row.users for row in baselines)
            sentences.append(
                f"{result.title}: a country has {users[0]} to {users[-1]} {result.unit}s, so the "
                f"interval of its `full` is {_typical_width(baselines):.0f} points wide (median)"
                f"{_by_country(result.rows)}."
            )
    told_apart = [abs(j.difference.value or 0.0) for j in judged if j.difference.sign]
    small = sum(value < _SMALL for value in told_apart)
    sentences.append(
        f"Of {len(told_apart)} differences that are told apart, {small} are below "
        f"{100 * _SMALL:.0f} point: a sign that is sure, of little use. "
        f"{len(judged)} comparisons of whole data sets stand above and none is corrected for "
        f"their number: of intervals at 95 % about {_CHANCE * len(judged):.1f} leave out 0 by "
        "chance, and of those by country one in twenty. Folds of one seed share most of their "
        "training users, and seeds share all of them: the spread between seeds is that of "
        "training and folds, not of people. What the data themselves are stands below."
    )
    return " ".join(sentences)


def _by_country(rows: Sequence[PooledRow]) -> str:
    """Return in how many countries a form of SCPO is told apart from `full`."""
    words = []
    for arm in ("scpo", TUNED_ARM):
        signs = [
            row.against[BASELINE].sign
            for row in rows
            if row.country != POOLED and row.arm == arm and BASELINE in row.against
        ]
        if signs:
            words.append(
                f"`{arm}` is above `full` in {signs.count(1)}, below in {signs.count(-1)}, of "
                f"{len(signs)} countries"
            )
    return f"; by interval {', '.join(words)}" if words else ""


def _sentences(judged: Sequence[JudgedClaim]) -> list[str]:
    cases: dict[str, list[str]] = {}
    for one in judged:
        case = f"{one.data_set} {format_difference(one.difference)}"
        cases.setdefault(one.claim.text, []).append(case)
    return [f"{text}: {'; '.join(found)}." for text, found in cases.items()]


def _typical_width(rows: Sequence[PooledRow]) -> float:
    ends = [(row.accuracy.low, row.accuracy.high) for row in rows]
    widths = [100 * (high - low) for low, high in ends if low is not None is not high]
    return statistics.median_high(widths) if widths else 0.0
