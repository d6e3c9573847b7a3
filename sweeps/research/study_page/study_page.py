"""STUDY.md: rows of all data sets come in, a page in Markdown goes out.

Nothing on it is written by hand but what the configuration says of the data: every figure and
every sentence with one is made from the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scpo.statistics.wording import format_accuracy, format_difference
from sweeps.ledger.words import BASELINE, GLOBAL, LENGTH, POOLED, TUNED_ARM
from sweeps.research.study_page.paragraphs import closing_paragraphs
from sweeps.research.study_page.rows import Interval, StudyRow, find_row
from sweeps.research.study_page.study_claims import CLAIMS, judge_claims

SHOWN = (LENGTH, GLOBAL, BASELINE, "scpo", TUNED_ARM)  # arms of the countries' table


@dataclass(frozen=True)
class DataSetResult:
    """What the page tells of one data set.

    Attributes:
        name: Its key in the configuration.
        title: Its name for people.
        about: What the data are and are not.
        method: How arms were trained and judged.
        unit: "user" or "question".
        rows: Its rows.
        failed: Trainings that failed.
        wall_s: Wall time of all calls that worked on it.
        similarity: A further table in Markdown, "" for none.
        remark: A sentence on that table for the closing paragraphs.
    """

    name: str
    title: str
    about: str
    method: str
    unit: str
    rows: Sequence[StudyRow]
    failed: int
    wall_s: float
    similarity: str = ""
    remark: str = ""


def study_page(
    results: Sequence[DataSetResult], *, missing: Sequence[str], machine: str, config: str
) -> str:
    """Return the page.

    Args:
        results: Data sets that are done.
        missing: Titles of those that are not.
        machine: What it ran on.
        config: Path of the configuration, for the commands.
    """
    parts = [_opening(machine, config)]
    if missing:
        parts.append(f"**Not done yet:** {', '.join(missing)}. The same command goes on.")
    rows = {result.title: result.rows for result in results}
    if results:
        parts.append(_overview(results, config))
        parts.append(claims_table(rows))
    for result in results:
        parts.append(_data_set(result))
    if results:
        units = {result.title: result.unit for result in results}
        remarks = [f"{result.title}: {result.remark}" for result in results if result.remark]
        parts.append(closing_paragraphs(judge_claims(rows), rows, units, remarks))
        parts += [f"*{result.title}.* {result.about}" for result in results if result.about]
    return "\n\n".join(parts) + "\n"


def claims_table(rows: dict[str, Sequence[StudyRow]]) -> str:
    """Return the claims by data set, each as difference in points and verdict."""
    findings = {(f.claim, f.data_set): f for f in judge_claims(rows)}
    lines = []
    for claim in CLAIMS:
        cells = [f"{claim.text}: {claim.why}"]
        for title in rows:
            finding = findings.get((claim, title))
            cells.append(
                "" if finding is None else f"{_points(finding.difference)}, **{finding.verdict}**"
            )
        lines.append(cells)
    table = _table(["difference in points, 95 % interval", *rows], lines)
    return f"## The paper's pattern, on all pairs of each data set\n\n{table}"


def _opening(machine: str, config: str) -> str:
    """Return how the page came about and how it is to be read."""
    return f"""# Study: every arm on real data

Written by `scpo study {config}` (`make study DATA=FOLDER`) from its own records; do not edit.
{machine}

Every user (or question) of a country is judged by models that never saw it: users are dealt into
folds, each fold is judged by a training on the others, and each seed deals anew. What an arm may
choose (`scpo_tuned`: retention and strength; heads: the pull to the global head, for every arm) is
chosen on inner folds of the training users, so a held-out user is looked at once a seed, after
all choices. Accuracies are averaged over seeds per user; intervals are 95 %, from a bootstrap that
draws whole users (or questions). A difference is paired on the same pairs. `distinctive` are the
pairs on which the global model is wrong; higher there is not simply better. Intervals of these
layers are rather too wide than too narrow: records hold no counts of them by user, so countries
that answered the same questions are taken to err together. `length`: the longer response wins."""


def _overview(results: Sequence[DataSetResult], config: str) -> str:
    """Return size, command and wall time of each data set."""
    lines = []
    for result in results:
        row = _whole(result, BASELINE) or result.rows[0]
        only = f"`scpo study {config} --out runs/study --only {result.name}`"
        minutes = f"{result.wall_s / 60:.1f} min"
        counts = [str(row.num_countries), f"{row.pairs:,}", f"{row.users:,} {result.unit}s"]
        lines.append([result.title, *counts, str(row.num_seeds), only, minutes])
    names = ["data set", "countries", "pairs judged", "by", "seeds", "command", "wall time"]
    return _table(names, lines)


def _data_set(result: DataSetResult) -> str:
    """Return the section of one data set."""
    failed = f" {result.failed} trainings failed." if result.failed else ""
    parts = [
        f"## {result.title}\n\n{result.method}{failed}",
        _arms_table([row for row in result.rows if row.country == _name_of_whole(result)]),
        _countries_table(result),
        result.similarity,
    ]
    return "\n\n".join(part for part in parts if part)


def _arms_table(rows: Sequence[StudyRow]) -> str:
    """Return all arms, pooled."""
    lines = [
        [
            f"`{row.arm}`",
            _share(row.accuracy),
            *(_against(row, other) for other in (BASELINE, GLOBAL, LENGTH)),
            *(
                "no pairs" if each is None else _share(each)
                for each in (row.distinctive, row.consensus)
            ),
            "" if row.seed_sd is None else f"{100 * row.seed_sd:.1f}",
            "" if row.arm == LENGTH else f"{row.pairs_trained:,.0f}",
        ]
        for row in rows
    ]
    sizes = rows[0].distinctive_pairs, rows[0].consensus_pairs
    names = [
        "arm",
        "overall",
        "against `full`",
        "against `global`",
        "against `length`",
        f"distinctive ({sizes[0]:,})",
        f"consensus ({sizes[1]:,})",
        "sd between seeds",
        "pairs a training keeps",
    ]
    return _table(names, lines)


def _countries_table(result: DataSetResult) -> str:
    """Return the main arms by country."""
    countries = list(dict.fromkeys(row.country for row in result.rows if row.country != POOLED))
    if len(countries) < 2:
        return ""
    lines = []
    for country in countries:
        found = {arm: find_row(result.rows, country, arm) for arm in SHOWN}
        sizes = next(row for row in found.values() if row is not None)
        accuracies = [
            "" if row is None else f"{100 * row.accuracy.value:.1f} %" for row in found.values()
        ]
        differences = [
            _against(found[arm], BASELINE) for arm in ("scpo", TUNED_ARM) if arm in found
        ]
        lines.append([country, str(sizes.pairs), str(sizes.users), *accuracies, *differences])
    names = ["country", "pairs", f"{result.unit}s", *(f"`{arm}`" for arm in SHOWN)]
    return _table([*names, "`scpo` - `full`", f"`{TUNED_ARM}` - `full`"], lines)


def _whole(result: DataSetResult, arm: str) -> StudyRow | None:
    """Return an arm's row over all countries."""
    return find_row(result.rows, _name_of_whole(result), arm)


def _name_of_whole(result: DataSetResult) -> str:
    """Return "pooled", or the lone country."""
    names = [row.country for row in result.rows]
    return POOLED if POOLED in names else names[0]


def _share(interval: Interval) -> str:
    return format_accuracy(interval.value, interval.low, interval.high)


def _points(interval: Interval) -> str:
    return format_difference(interval.value, interval.low, interval.high)


def _against(row: StudyRow | None, other: str) -> str:
    """Return a paired difference in points, bold where its interval leaves out 0."""
    if row is None or other not in row.against:
        return ""
    words = _points(row.against[other])
    return f"**{words}**" if row.against[other].sign else words


def _table(names: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    rule = ["---"] * len(names)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, rule, *lines))
