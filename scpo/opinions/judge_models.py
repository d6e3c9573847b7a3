"""`scpo opinions`: how near reward models come to the survey answers of each country.

In come models and GlobalOpinionQA; out come opinions.csv and opinions.json (means with intervals
and how they were made), opinions.parquet (each row's score of each answer, at full precision) and
quarantine.jsonl. Beside the models always stand the uniform answer, the average of countries and
what kin countries answered.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scpo.arrays import FloatArray, IntArray
from scpo.data.reading.bad_rows import BadRowPolicy, BadRows
from scpo.data.sources.global_opinions import (
    OPINIONS_HUB_NAME,
    SurveyQuestion,
    read_global_opinions,
)
from scpo.files.atomic import hash_file, write_json
from scpo.files.provenance import installed_versions, source_commit, utc_now
from scpo.models.devices import pick_device
from scpo.models.loading import load_reward_model
from scpo.models.model_source import ModelSource, find_models
from scpo.models.reward_model import content_hash
from scpo.opinions.answers import Answers, build_answers
from scpo.opinions.kin_rows import kin_rows
from scpo.opinions.model_answers import (
    baseline_rows,
    fit_temperatures,
    model_row,
    own_and_others,
    parse_labels,
    score_options,
)
from scpo.opinions.opinion_scores import Judged, OpinionRecord, summarise
from scpo.opinions.opinion_tables import write_answers, write_opinions
from scpo.opinions.selection import pick_countries, select_answers
from scpo.statistics.bootstrap import NUM_RESAMPLES

_REFERENCE = "global"  # the label of the model that the others are compared with


@dataclass(frozen=True)
class OpinionSettings:
    """How models are judged."""

    countries: tuple[str, ...] = ()  # none: those with a model, or else with `min_questions`
    min_questions: int = 100
    # "all" questions, or those that `scpo train` holds out of a country as "validation" or
    # "test": for models trained on the survey itself.
    part: str = "all"
    # T of the choice rule; None: fitted per model and country on the others' answers.
    temperature: float | None = 1.0
    max_tokens: int = 512

    def __post_init__(self) -> None:
        given = self.temperature
        if given is not None and not 0 < given < math.inf:
            raise ValueError(f"`temperature` must be finite and above 0, but got {given}.")


def run_opinions(
    models: Mapping[str, str],
    source: str | Path | None,
    out: Path,
    settings: OpinionSettings,
    *,
    on_bad_rows: BadRowPolicy = "quarantine",
    say: Callable[[str], None] = print,
) -> list[OpinionRecord]:
    """Judge reward models by a survey and write the outcome to a folder.

    `models` are folders or hub names by label, as of `scpo.opinions.model_answers`, perhaps none;
    `source` is a file of GlobalOpinionQA, None for the hub.

    Raises:
        FileNotFoundError: No such file or model.
        OSError: The hub does not answer or refuses.
        RuntimeError: A reward is not finite.
        ValueError: A bad row under "stop"; a label, country or setting that does not fit; or no
            answer to judge.
    """
    place = OPINIONS_HUB_NAME if source is None else source
    bad_rows = BadRows(on_bad_rows)
    survey = read_global_opinions(place, bad_rows)
    bad_rows.write(out / "quarantine.jsonl")
    counts = Counter(country for item in survey for country in item.shares)
    labels = parse_labels(list(models), list(counts))
    sources = find_models(models)
    countries = pick_countries(
        counts,
        named=settings.countries,
        with_model=[label.country for label in labels if label.country],
        min_questions=settings.min_questions,
    )
    questions, side = select_answers(survey, countries, settings.part)
    answers = build_answers(questions)
    which = np.flatnonzero(side == settings.part)
    judged, numbers = _name_judged(answers, which, countries)
    say(f"{len(which):,} answers of {len(countries)} countries to {len(numbers):,} questions")
    rows = baseline_rows(answers, which)
    described = _describe(place, bad_rows, settings, countries)
    rewards: dict[str, FloatArray] = {}
    for label in labels:
        found = sources[label.name]
        rewards[label.name], used = _reward(found, questions, answers, settings)
        temperatures = np.array(list(used.values()))
        rows.append(model_row(label, rewards[label.name], temperatures, answers, which))
        described["models"][label.name] = {
            "model": models[label.name],
            "content": content_hash(found),
            "temperature": {name: used[name] for name in countries},
        }
        say(f"{label.name}: scored")
    rows += own_and_others(labels, rows, [countries[each] for each in judged.country])
    rows += kin_rows(labels, rewards, answers, side, settings.part)
    records = summarise(rows, judged, reference=_REFERENCE if _REFERENCE in models else None)
    write_opinions(records, out / "opinions.csv")
    asked = [questions[number] for number in numbers.tolist()]
    write_answers(rows, judged, asked, out / "opinions.parquet")
    described["records"] = [record.as_dict() for record in records]
    write_json(out / "opinions.json", described)
    return records


def _reward(
    source: ModelSource,
    questions: Sequence[SurveyQuestion],
    answers: Answers,
    settings: OpinionSettings,
) -> tuple[FloatArray, dict[str, float]]:
    """Return a model's reward of each option, shape (Q, K), and its temperature by country."""
    reward = load_reward_model(source).to(pick_device())
    rewards = score_options(reward, questions, max_tokens=settings.max_tokens)
    if settings.temperature is None:
        used = fit_temperatures(rewards, answers)
    else:
        used = np.full(len(answers.countries), settings.temperature)
    return rewards, dict(zip(answers.countries, used.tolist(), strict=True))


def _name_judged(
    answers: Answers, which: IntArray, countries: Sequence[str]
) -> tuple[Judged, IntArray]:
    """Return country and question of the judged answers, and the numbers of those questions.

    Countries are among those judged, sorted; questions count through those with a judged answer.
    """
    names = np.array(answers.countries)[answers.country[which]]
    numbers, question = np.unique(answers.question[which], return_inverse=True)
    return Judged(tuple(countries), np.searchsorted(countries, names), question), numbers


def _describe(
    place: str | Path, bad_rows: BadRows, settings: OpinionSettings, countries: Sequence[str]
) -> dict[str, Any]:
    return {
        "source": str(place),
        "sha256": hash_file(Path(place)) if Path(place).is_file() else None,
        "rows_read": bad_rows.num_rows_read,
        "rejected": dict(sorted(bad_rows.counts.items())),
        "notes": dict(sorted(bad_rows.notes.items())),
        "settings": asdict(settings)
        | {"countries": list(countries), "num_resamples": NUM_RESAMPLES, "seed": 0},
        "models": {},
        "versions": installed_versions(),
        "commit": source_commit(),
        "time": utc_now(),
    }
