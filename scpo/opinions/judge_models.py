"""`scpo opinions`: how near reward models come to the survey answers of each country.

In come models and GlobalOpinionQA; out come opinions.csv and opinions.json (means with intervals
and how they were made), opinions.parquet (each row's score of each answer, at full precision) and
quarantine.jsonl. Beside the models always stand the uniform answer and the average of countries.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scpo.arrays import IntArray
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
from scpo.opinions.model_answers import (
    ModelLabel,
    baseline_rows,
    fit_temperatures,
    model_row,
    own_and_others,
    parse_labels,
    score_options,
)
from scpo.opinions.opinion_scores import Judged, OpinionRecord, ScoredRow, summarise
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
    `source` is a CSV file of GlobalOpinionQA, None for the hub.

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
    questions, which = select_answers(survey, countries, settings.part)
    answers = build_answers(questions)
    judged = _name_judged(answers, which, countries)
    say(f"{len(which):,} answers of {len(countries)} countries to {len(questions):,} questions")
    rows = baseline_rows(answers, which)
    described = _describe(place, bad_rows, settings, countries)
    for label in labels:
        found = sources[label.name]
        row, used = _judge(label, found, questions, answers, which, settings)
        rows.append(row)
        described["models"][label.name] = {
            "model": models[label.name],
            "content": content_hash(found),
            "temperature": {name: used[name] for name in countries},
        }
        say(f"{label.name}: scored")
    rows += own_and_others(labels, rows, [countries[each] for each in judged.country])
    records = summarise(rows, judged, reference=_REFERENCE if _REFERENCE in models else None)
    write_opinions(records, out / "opinions.csv")
    write_answers(rows, judged, questions, out / "opinions.parquet")
    described["records"] = [record.as_dict() for record in records]
    write_json(out / "opinions.json", described)
    return records


def _judge(
    label: ModelLabel,
    source: ModelSource,
    questions: Sequence[SurveyQuestion],
    answers: Answers,
    which: IntArray,
    settings: OpinionSettings,
) -> tuple[ScoredRow, dict[str, float]]:
    reward = load_reward_model(source).to(pick_device())
    rewards = score_options(reward, questions, max_tokens=settings.max_tokens)
    if settings.temperature is None:
        used = fit_temperatures(rewards, answers)
    else:
        used = np.full(len(answers.countries), settings.temperature)
    row = model_row(label, rewards, used, answers, which)
    return row, dict(zip(answers.countries, used.tolist(), strict=True))


def _name_judged(answers: Answers, which: IntArray, countries: Sequence[str]) -> Judged:
    """Return country and question of the judged answers, countries among those judged, sorted."""
    names = np.array(answers.countries)[answers.country[which]]
    return Judged(tuple(countries), np.searchsorted(countries, names), answers.question[which])


def _describe(
    place: str | Path, bad_rows: BadRows, settings: OpinionSettings, countries: Sequence[str]
) -> dict[str, Any]:
    return {
        "source": str(place),
        "sha256": None if place == OPINIONS_HUB_NAME else hash_file(Path(place)),
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
