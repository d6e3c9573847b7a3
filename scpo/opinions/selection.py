"""Which answers of a survey are judged: countries and the part of their questions."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scpo.config import SplitConfig
from scpo.countries.build import divide_users
from scpo.data.reading.countries import nearest_names, require_country
from scpo.data.sources.global_opinions import SurveyQuestion
from scpo.data.sources.opinion_pairs import make_opinion_interactions, question_user
from scpo.data.splits import SIDES

_PARTS = ("all", *SIDES)


def pick_countries(
    counts: Mapping[str, int],
    *,
    named: Sequence[str],
    with_model: Sequence[str],
    min_questions: int,
) -> list[str]:
    """Return the countries to judge, sorted.

    They are those named, or else those with a model, or else those with so many questions;
    `counts` are the questions of each country of the survey.

    Raises:
        ValueError: A named country that is not in the survey, or none left.
    """
    asked = [require_country(name) for name in named]
    absent = [name for name in asked if name not in counts]
    if absent:
        near = [each for name in absent for each in nearest_names(name, counts)]
        raise ValueError(
            f"{absent} must be among the survey's countries: {sorted(counts)}."
            + (f" Did you mean {' or '.join(near)}?" if near else "")
        )
    enough = [name for name, count in counts.items() if count >= min_questions]
    picked = asked or with_model or enough
    if not picked:
        raise ValueError(
            f"One country at least must have {min_questions} questions, but the most is "
            f"{max(counts.values(), default=0)}. Lower the number, or name countries."
        )
    return sorted(set(picked))


def select_answers(
    survey: Sequence[SurveyQuestion], countries: Sequence[str], part: str
) -> tuple[list[SurveyQuestion], NDArray[np.str_]]:
    """Return the questions that some countries answered, and the side of each answer to them.

    `part` is what is judged: "all", or a part of the split that `scpo train` makes of the prepared
    survey.

    Returns:
        Questions with the answers of all countries; the side of each answer, in the order of
        `scpo.opinions.answers.build_answers`: "all" or a part of the split, "" of other countries.

    Raises:
        ValueError: An unknown part, or a country with too few questions to split.
    """
    if part not in _PARTS:
        raise ValueError(f"`part` must be one of {list(_PARTS)}, but got {part!r}.")
    side_of = _side_of(survey, countries, part)
    sides = [[side_of(country, item.question) for country in item.shares] for item in survey]
    kept = [item for item, own in zip(survey, sides, strict=True) if any(own)]
    return kept, np.array([side for own in sides if any(own) for side in own], dtype=np.str_)


def _side_of(
    survey: Sequence[SurveyQuestion], countries: Sequence[str], part: str
) -> Callable[[str, str], str]:
    """Return what tells the side of a country's answer to a question."""
    wanted = set(countries)
    if part == "all":
        return lambda country, question: part if country in wanted else ""
    sides = divide_users(make_opinion_interactions(survey), countries, SplitConfig())
    return lambda country, question: sides.get(question_user(country, question), "")
