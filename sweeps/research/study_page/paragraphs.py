"""The three paragraphs that close the page: what held, what did not, what the data cannot say.

They are made from the findings and the rows, so they cannot say more than the tables.
"""

from collections.abc import Mapping, Sequence

from scpo.statistics.wording import format_difference
from sweeps.ledger.words import BASELINE, POOLED, TUNED_ARM
from sweeps.research.study_page.rows import StudyRow
from sweeps.research.study_page.study_claims import Finding

CHANCE = 0.05  # of a 95 % interval to leave out 0 where there is nothing
SMALL = 0.01  # an accuracy that is told apart and yet of little use


def closing_paragraphs(
    findings: Sequence[Finding],
    rows: Mapping[str, Sequence[StudyRow]],
    units: Mapping[str, str],
    remarks: Sequence[str] = (),
) -> str:
    """Return the paragraphs with their headings.

    Args:
        findings: Every claim on every data set.
        rows: Rows by the data set's title.
        units: "user" or "question" by title.
        remarks: Sentences on further tables, added to what did not hold.
    """
    return "\n\n".join(
        [
            f"## What held\n\n{what_held(findings)}",
            f"## What did not\n\n{' '.join([what_did_not(findings), *remarks])}",
            f"## What the data cannot say\n\n{what_cannot_be_said(findings, rows, units)}",
        ]
    )


def what_held(findings: Sequence[Finding]) -> str:
    """Return the claims whose interval lies on their side of 0."""
    held = [finding for finding in findings if finding.verdict == "held"]
    if not held:
        return "No claim of the paper's pattern was shown on any data set."
    return " ".join(
        [
            f"{len(held)} of {len(findings)} comparisons came out as the paper's pattern says, "
            "with an interval that leaves out 0.",
            *_sentences(held),
        ]
    )


def what_did_not(findings: Sequence[Finding]) -> str:
    """Return the claims that were contradicted, and those that were not shown."""
    opposite = [finding for finding in findings if finding.verdict == "opposite"]
    unclear = [finding for finding in findings if finding.verdict == "not told apart"]
    parts = []
    if opposite:
        parts += ["The opposite was found:", *_sentences(opposite)]
    if unclear:
        parts += ["Not told apart, the interval holds 0:", *_sentences(unclear)]
    return " ".join(parts) or "Nothing: every claim held on every data set."


def what_cannot_be_said(
    findings: Sequence[Finding],
    rows: Mapping[str, Sequence[StudyRow]],
    units: Mapping[str, str],
) -> str:
    """Return how coarse the data are, and how many findings chance alone would bring."""
    parts = []
    for title, given in rows.items():
        countries = [r for r in given if r.country != POOLED and r.arm == BASELINE]
        if not countries:
            continue
        users = sorted(row.users for row in countries)
        parts.append(
            f"{title}: a country has {users[0]} to {users[-1]} {units[title]}s, so the interval "
            f"of its `full` is {_typical_width(countries):.0f} points wide (median)"
            f"{_by_country(given)}."
        )
    expected = CHANCE * len(findings)
    told_apart = [abs(f.difference.value) for f in findings if f.difference.sign]
    small = sum(value < SMALL for value in told_apart)
    parts.append(
        f"Of {len(told_apart)} differences that are told apart, {small} are below "
        f"{100 * SMALL:.0f} point: a sign that is sure, of little use. "
        f"{len(findings)} comparisons of whole data sets stand above and none is corrected for "
        f"their number: of intervals at 95 % about {expected:.1f} leave out 0 by chance, and of "
        "those by country one in twenty. Folds of one seed share most of their training users, "
        "and seeds share all of them: the spread between seeds is that of training and folds, "
        "not of people. What the data themselves are stands below."
    )
    return " ".join(parts)


def _by_country(rows: Sequence[StudyRow]) -> str:
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


def _sentences(findings: Sequence[Finding]) -> list[str]:
    """Return one sentence a claim, with the data sets and differences in points."""
    return [
        f"{claim.text}: {'; '.join(_case(f) for f in findings if f.claim == claim)}."
        for claim in dict.fromkeys(finding.claim for finding in findings)
    ]


def _case(finding: Finding) -> str:
    """Return a data set and the difference on it."""
    found = finding.difference
    return f"{finding.data_set} {format_difference(found.value, found.low, found.high)}"


def _typical_width(rows: Sequence[StudyRow]) -> float:
    """Return the median width of intervals in points."""
    widths = sorted(
        100 * (row.accuracy.high - row.accuracy.low)
        for row in rows
        if row.accuracy.low is not None and row.accuracy.high is not None
    )
    return widths[len(widths) // 2] if widths else 0.0
