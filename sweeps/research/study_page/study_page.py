"""STUDY.md: rows of all data sets come in, a page in Markdown goes out.

Nothing on it is written by hand but what the configuration says of the data: every figure and
every sentence with one is made from the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scpo.statistics.wording import format_accuracy, format_difference
from sweeps.ledger.pooled import PooledRow, find_row
from sweeps.ledger.words import BASELINE, GLOBAL, LENGTH, POOLED, TUNED_ARM
from sweeps.research.study_page.paragraphs import closing_paragraphs
from sweeps.research.study_page.study_claims import CLAIMS, judge_claims
from sweeps.research.study_page.survey_table import markdown_table

_ARMS_BY_COUNTRY = (LENGTH, GLOBAL, BASELINE, "scpo", TUNED_ARM)


@dataclass(frozen=True)
class DataSetResult:
    """One data set on the page."""

    name: str  # its key in the configuration
    title: str
    about: str  # what the data are and are not
    method: str  # how arms were trained and judged
    unit: str  # "user" or "question"
    rows: Sequence[PooledRow]
    failed: int
    wall_s: float  # wall time of all calls that worked on it
    similarity: str = ""  # a further table in Markdown, "" for none
    remark: str = ""  # a sentence on that table for the closing paragraphs


def study_page(
    results: Sequence[DataSetResult], *, missing: Sequence[str], machine: str, config: str
) -> str:
    """Return the page of the data sets that are done; `missing` are titles of the others."""
    sections = [_opening(machine, config)]
    if missing:
        sections.append(
            f"**Not done yet:** {', '.join(missing)}. Run the same command again to continue."
        )
    if results:
        rows = {result.title: result.rows for result in results}
        units = {result.title: result.unit for result in results}
        remarks = [f"{result.title}: {result.remark}" for result in results if result.remark]
        sections += [
            _overview(results, config),
            claims_table(rows),
            *(_data_set(result) for result in results),
            closing_paragraphs(judge_claims(rows), rows, units, remarks),
            *(f"*{result.title}.* {result.about}" for result in results if result.about),
        ]
    return "\n\n".join(sections) + "\n"


def claims_table(rows: dict[str, Sequence[PooledRow]]) -> str:
    """Return the claims by data set, each as difference in points and verdict."""
    cells = {
        (j.claim, j.data_set): f"{format_difference(j.difference)}, **{j.verdict}**"
        for j in judge_claims(rows)
    }
    lines = [
        [f"{claim.text}: {claim.why}", *(cells.get((claim, title), "") for title in rows)]
        for claim in CLAIMS
    ]
    table = markdown_table(["difference in points, 95 % interval", *rows], lines)
    return f"## The paper's pattern, on all pairs of each data set\n\n{table}"


def _opening(machine: str, config: str) -> str:
    return f"""# Study: every arm on real data

Written by `scpo study {config}` (`make study DATA=FOLDER`) from its own records; do not edit.
{machine}

Every user (or question) of a country is judged by models that never saw it: users are dealt into
folds, each fold is judged by a training on the others, and each seed deals anew. What an arm may
choose (`scpo_tuned`: retention and strength; heads: the pull to the global head, for every arm) is
chosen on inner folds of the training users, so a held-out user is looked at once a seed, after
all choices. Accuracies are averaged over seeds per user; intervals are 95 %, from a bootstrap that
draws whole users (or questions). A difference is paired on the same pairs. `distinctive` are the
pairs on which the global model is wrong; higher there is not simply better. `length`: the longer
response wins."""


def _overview(results: Sequence[DataSetResult], config: str) -> str:
    lines = []
    for result in results:
        row = find_row(result.rows, result.rows[0].country, BASELINE) or result.rows[0]
        only = f"`scpo study {config} --out runs/study --only {result.name}`"
        minutes = f"{result.wall_s / 60:.1f} min"
        counts = [str(row.num_countries), f"{row.pairs:,}", f"{row.users:,} {result.unit}s"]
        lines.append([result.title, *counts, str(row.num_seeds), only, minutes])
    names = ["data set", "countries", "pairs judged", "by", "seeds", "command", "wall time"]
    return markdown_table(names, lines)


def _data_set(result: DataSetResult) -> str:
    failed = f" {result.failed} trainings failed." if result.failed else ""
    sections = [
        f"## {result.title}\n\n{result.method}{failed}",
        _arms_table([row for row in result.rows if row.country == result.rows[0].country]),
        _countries_table(result),
        result.similarity,
    ]
    return "\n\n".join(section for section in sections if section)


def _arms_table(rows: Sequence[PooledRow]) -> str:
    lines = [
        [
            f"`{row.arm}`",
            format_accuracy(row.accuracy),
            *(_against(row, other) for other in (BASELINE, GLOBAL, LENGTH)),
            format_accuracy(row.distinctive),
            format_accuracy(row.consensus),
            "" if row.seed_deviation is None else f"{100 * row.seed_deviation:.1f}",
            "" if row.arm == LENGTH else f"{row.pairs_trained or 0.0:,.0f}",
        ]
        for row in rows
    ]
    names = [
        "arm",
        "overall",
        "against `full`",
        "against `global`",
        "against `length`",
        f"distinctive ({rows[0].distinctive_pairs:,})",
        f"consensus ({rows[0].consensus_pairs:,})",
        "sd between seeds",
        "pairs a training keeps",
    ]
    return markdown_table(names, lines)


def _countries_table(result: DataSetResult) -> str:
    """Return the main arms by country; "" for a lone country."""
    countries = list(dict.fromkeys(row.country for row in result.rows if row.country != POOLED))
    if len(countries) < 2:
        return ""
    lines = []
    for country in countries:
        found = {arm: find_row(result.rows, country, arm) for arm in _ARMS_BY_COUNTRY}
        sizes = next(row for row in found.values() if row is not None)
        lines.append(
            [
                country,
                str(sizes.pairs),
                str(sizes.users),
                *("" if r is None else format_accuracy(r.accuracy.value) for r in found.values()),
                *(_against(found[arm], BASELINE) for arm in ("scpo", TUNED_ARM)),
            ]
        )
    names = ["country", "pairs", f"{result.unit}s", *(f"`{arm}`" for arm in _ARMS_BY_COUNTRY)]
    return markdown_table([*names, "`scpo` - `full`", f"`{TUNED_ARM}` - `full`"], lines)


def _against(row: PooledRow | None, other: str) -> str:
    """Return a paired difference in points, bold where its interval leaves out 0."""
    if row is None:
        return ""
    difference = row.difference(other)
    words = format_difference(difference)
    return f"**{words}**" if difference.sign else words
