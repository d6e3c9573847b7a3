"""`scpo evaluate`: many models on the held-out users of several countries.

In come models by label, a prepared folder and the global model
(`scpo.evaluation.labelled_models`); every model scores the validation and test responses of every
country, and `scpo.evaluation.tables` makes the tables. The global model's rewards come
from the cache, lengths from the data.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from scpo.arrays import FloatArray, IntArray
from scpo.countries.build import encoder_of, steer_countries
from scpo.countries.country_data import CountryData, rows_of
from scpo.countries.prefixed import check_prefix, fit_prefix
from scpo.countries.scoring import score_responses
from scpo.data.interactions import read_interactions
from scpo.data.prefixes import prefix_of
from scpo.data.reading.countries import find_countries
from scpo.data.splits import keep_split
from scpo.evaluation.labelled_models import ModelsToJudge, name_countries, owners_of
from scpo.evaluation.pair_scores import GLOBAL, LENGTH, PairScores
from scpo.evaluation.tables import VALIDATION
from scpo.evaluation.trained_users import refuse_trained_users
from scpo.models.devices import pick_device
from scpo.models.loading import load_reward_model
from scpo.models.model_source import ModelSource, find_model, find_models
from scpo.models.reward_model import LoadedModel, content_hash


def score_models(
    judged: ModelsToJudge, *, part: str = "test", say: Callable[[str], None] = print
) -> tuple[list[PairScores], dict[str, Any]]:
    """Return each country's pairs with the rewards of all models, and what the models are.

    Arguments and errors as of `run_evaluation`; the second value is by label.
    """
    table = read_interactions(judged.data)
    present = set(table["country"].to_pylist())
    named = name_countries(judged.models, present)
    countries = find_countries(judged.countries, present) or owners_of(named, present)
    if not countries:
        raise ValueError(
            "Countries must be given, or labels that name those of the data, such as "
            f"{min(present)}/scpo, but got the labels {', '.join(judged.models) or 'none'}."
        )
    sources = find_models(named)
    source = find_model(judged.global_model, revision=judged.revision)
    reference = _load(source, judged)
    encoder = encoder_of(reference, judged.encoder)
    rows = fit_prefix(rows_of(table, countries), reference)
    steered = steer_countries(
        rows,
        countries,
        reference,
        content_hash(source),
        split=keep_split(judged.data, rows, countries) if judged.split is None else judged.split,
        max_tokens=encoder.max_tokens,
        overlong=encoder.overlong,
        cache=judged.cache,
    ).countries
    which = {name: held_out(each, part) for name, each in steered.items()}
    testers = {user for name, each in steered.items() for user in each.user[which[name]].tolist()}
    for label, found in {GLOBAL: source, **sources}.items():
        if found.commit is None:
            refuse_trained_users(label, found.folder(), testers)
    about = {GLOBAL: {"model": str(judged.global_model), "content": content_hash(source)}}
    rewards: dict[str, dict[str, FloatArray]] = {name: {} for name in steered}
    for label, name in named.items():
        model = _load(sources[label], judged)
        encoder_of(model, encoder)  # tells a difference
        check_prefix(model, prefix_of(rows))
        if model.tokenizer.get_vocab() != reference.tokenizer.get_vocab():
            raise ValueError(
                f"{label}: a model must have the tokenizer of the global model, but {name} has "
                "another. Judge it beside a global model of its own family."
            )
        about[label] = {"model": name, "content": content_hash(sources[label])}
        for country, each in steered.items():
            rewards[country][label] = score_responses(model, each, which[country])
        say(f"{label}: scored")
    scores = [pair_scores(each, which[name], rewards[name]) for name, each in steered.items()]
    return scores, about


def held_out(data: CountryData, part: str) -> IntArray:
    """Return the numbers of the pairs to score: those of the part and of validation.

    Raises:
        ValueError: No such part, or it has no pair.
    """
    which = data.pairs_in(part)
    return np.union1d(which, np.flatnonzero(data.part == VALIDATION))


def pair_scores(
    data: CountryData, which: IntArray, rewards: Mapping[str, FloatArray]
) -> PairScores:
    """Return the named pairs with the rewards of the global model, length and further models.

    `which` are numbers of pairs; `rewards` are those of each response by label, each of shape
    (U,).
    """
    known = {GLOBAL: data.reference, LENGTH: data.response_chars.astype(np.float64)}
    ends = np.column_stack([data.pairs.chosen[which], data.pairs.rejected[which]])
    return PairScores(
        data.country,
        data.user[which],
        data.pair_ids[which],
        data.part[which],
        data.reference_margin[which],
        data.length_margin[which],
        ends,
        {label: given[ends] for label, given in {**known, **rewards}.items()},
        data.unit,
    )


def _load(source: ModelSource, judged: ModelsToJudge) -> LoadedModel:
    reward = load_reward_model(source, trust_remote_code=judged.trust_remote_code)
    return reward.to(pick_device())
