"""The arms beside the shares of people: cells of the opinions come in, figures by row go out.

The score is 1 - Jensen-Shannon distance of a model's option probabilities to the survey, each
question answered by heads that never saw it. Intervals draw whole questions, with the answers of
all their countries.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scpo.method.arms import TRAINED_ARMS
from scpo.opinions.opinion_scores import Judged, OpinionRecord, ScoredRow, summarise
from scpo.opinions.opinion_tables import format_score
from sweeps.ledger.words import BASELINE, GLOBAL, TUNED_ARM
from sweeps.research.study.survey_kin import KIN_MODEL
from sweeps.research.study.survey_similarity import AVERAGE

_OVER = {"questions": "mean over questions", "countries": "mean over countries"}


def similarity_records(cells: Sequence[Mapping[str, Any]], reference: str) -> list[OpinionRecord]:
    """Return the records of every row of `compute_frozen_cell`, differences to a reference row."""
    questions = sorted({name for cell in cells for name in cell["questions"]})
    number = {name: index for index, name in enumerate(questions)}
    judged = Judged(
        tuple(cell["country"] for cell in cells),
        np.repeat(np.arange(len(cells)), [len(cell["questions"]) for cell in cells]),
        np.array([number[name] for cell in cells for name in cell["questions"]], dtype=np.int64),
    )
    rows = [
        ScoredRow(name, "model", np.concatenate([np.array(c["similarity"][name]) for c in cells]))
        for name in cells[0]["similarity"]
    ]
    return summarise(rows, judged, reference=reference)


def similarity_table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a table in Markdown, with differences to `full` and `global`."""
    to_full = _by_row(similarity_records(cells, BASELINE))
    to_global = _by_row(similarity_records(cells, GLOBAL))
    names = [f"base 2, {mean}" for mean in _OVER.values()]
    names += ["natural log", "total variation", "against `full`, base 2", "against `global`"]
    lines = [
        [
            name,
            format_score(record.figures["similarity_base2"]),
            format_score(to_full[name, "countries"].figures["similarity_base2"]),
            format_score(record.figures["similarity_natural"]),
            format_score(record.figures["total_variation"]),
            format_score(record.against_reference, "+"),
            format_score(to_global[name, over].against_reference, "+"),
        ]
        for (name, over), record in to_full.items()
        if over == "questions"
    ]
    note = (
        "**Nearness to the survey**, 1 - Jensen-Shannon distance (higher is nearer; base 2 is in "
        "0..1, the natural log in 0.167..1) and total variation (lower is nearer). T of softmax("
        "reward / T) is fitted to the other countries' answers, or 1 where the row says so."
    )
    return f"{note}\n\n{markdown_table(['row', *names], lines)}"


def similarity_remark(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return how the nearest arm stands to the plain average of other countries' answers."""
    arms = {*TRAINED_ARMS, TUNED_ARM, GLOBAL}
    found = {
        name: record.against_reference
        for (name, over), record in _by_row(similarity_records(cells, AVERAGE)).items()
        if over == "questions" and name in arms and record.against_reference is not None
    }
    best = max(found, key=lambda name: found[name].value or 0.0)
    ends = f"the nearest, `{best}`, is {format_score(found[best], '+')} from it in base 2"
    average = "the plain average of the other countries' answers"
    if (found[best].high or 0.0) < 0.0:
        return f"No arm comes as near to the survey as {average}: {ends}."
    if (found[best].low or 0.0) > 0.0:
        return f"An arm is nearer to the survey than {average}: {ends}."
    return f"No arm is told apart from {average}: {ends}."


def kin_remark(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return in how many countries kin and model are nearer than the average of others."""
    against = similarity_records(cells, AVERAGE)
    found = [r for r in against if r.row == KIN_MODEL and r.against_reference is not None]
    gains = [r.against_reference for r in found if r.over == "country"]
    own = [gain.value or 0.0 for gain in gains if gain is not None]
    (over,) = (r for r in found if r.over == "countries")
    return (
        f"With the others weighted by kinship and `full` on top, the answer is nearer than that "
        f"average in {sum(value > 0 for value in own)} of {len(own)} countries "
        f"({format_score(over.against_reference, '+')} in base 2): it knows what the others "
        "answered to the very question."
    )


def markdown_table(names: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown: names of the columns, then a list of cells a line."""
    rule = ["---"] * len(names)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, rule, *lines))


def _by_row(records: Sequence[OpinionRecord]) -> dict[tuple[str, str], OpinionRecord]:
    return {(r.row, r.over): r for r in records if r.over in _OVER}
